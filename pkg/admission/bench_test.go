package admission

import (
	"bytes"
	"testing"
)

// BenchmarkReview is one review without the network, against an empty cluster
// (every Secret is missing) and one that has them all.
func BenchmarkReview(b *testing.B) {
	body := capture(b, missing)
	h := newHandler(b)
	b.ReportAllocs()
	for b.Loop() {
		if w := post(h, bytes.NewReader(body)); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkDecode is the decoding alone.
func BenchmarkDecode(b *testing.B) {
	body := capture(b, missing)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Pods(body); err != nil {
			b.Fatal(err)
		}
	}
}
