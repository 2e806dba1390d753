package intake

import (
	"net"
	"net/http"
	"testing"
)

// from is a connection from an address.
type from struct {
	net.Conn
	address string
	closed  bool
}

func (f *from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.address), Port: 1} }

func (f *from) Close() error {
	f.closed = true
	return nil
}

func TestTheAddressWithMostConnectionsMakesRoom(t *testing.T) {
	closed := 0
	c := NewConnections(func() { closed++ })
	open := func(address string) (*from, net.Conn) {
		f := &from{address: address}
		return f, c.add(f)
	}
	apiServer, apiConn := open("10.0.0.1")
	first, firstConn := open("10.0.0.2")
	second, _ := open("10.0.0.2")
	c.State(apiConn, http.StateActive)
	used, usedConn := open("10.0.0.2")
	for range MaxConnections - 4 {
		open("10.0.0.2")
	}
	c.State(firstConn, http.StateActive)
	c.State(usedConn, http.StateActive)
	c.State(usedConn, http.StateIdle)
	if closed != 0 {
		t.Fatal("one is closed though there is room")
	}
	open("10.0.0.3")
	if apiServer.closed || first.closed || used.closed || !second.closed || closed != 1 {
		t.Error("the one that was used least recently should be closed, and no other")
	}
	for range MaxConnections / 2 {
		open("10.0.0.2")
	}
	if used.closed || first.closed {
		t.Error("one that is in use is closed while others are not")
	}
	for range 2 * MaxConnections {
		open("10.0.0.2")
	}
	if !used.closed || first.closed {
		t.Error("one that has a request under way is closed while others have none")
	}
	if apiServer.closed || c.all.Len() != MaxConnections || len(c.places) != MaxConnections || len(c.addresses) != 3 {
		t.Errorf("got %d connections, %d places, of %d addresses", c.all.Len(), len(c.places), len(c.addresses))
	}
	if err := apiConn.Close(); err != nil || apiConn.Close() != nil || c.addresses["10.0.0.1"] != 0 || !apiServer.closed {
		t.Error("a connection that was closed is still counted")
	}
}
