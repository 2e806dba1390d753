package certificates

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// serviceNetwork carries what the API server sends to Services. It is an HTTP
// CONNECT proxy on a Unix socket, which the API server is told to use: so that it
// calls a webhook as in production, by the Service's name and with HTTP/1.1.
type serviceNetwork struct {
	// egress is the file for --egress-selector-config-file.
	egress string

	mu     sync.Mutex
	routes map[string]func(net.Conn) // by cluster IP
}

// newServiceNetwork listens in a directory until the listener is closed.
func newServiceNetwork(dir string) (*serviceNetwork, net.Listener, error) {
	n := &serviceNetwork{egress: filepath.Join(dir, "egress.yaml"), routes: map[string]func(net.Conn){}}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, err
	}
	go accept(l, n.connect)
	return n, l, os.WriteFile(n.egress, []byte(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: "`+socket+`"}}}}
`), 0o600)
}

// route says who carries on connections to a cluster IP.
func (n *serviceNetwork) route(clusterIP string, carry func(net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routes[clusterIP] = carry
}

// connect reads "CONNECT IP:PORT HTTP/1.1" and headers, and agrees.
func (n *serviceNetwork) connect(conn net.Conn) {
	var head []byte
	one := make([]byte, 1) // not a byte more: what follows is TLS
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := io.ReadFull(conn, one); err != nil {
			_ = conn.Close()
			return
		}
		head = append(head, one[0])
	}
	target, _, _ := strings.Cut(strings.TrimPrefix(string(head), "CONNECT "), " ")
	host, _, _ := net.SplitHostPort(target)
	n.mu.Lock()
	carry := n.routes[host]
	n.mu.Unlock()
	if carry == nil {
		_ = conn.Close()
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	carry(conn)
}
