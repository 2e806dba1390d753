// Package browser clicks through what people look at in a browser. Its tests
// need Chromium: "make test-browser" runs them.
package browser
