// Command apicompat compares two versions of a CustomResourceDefinition, and reports
// what would break somebody who uses the older one. docs/api.md has the promise.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: apicompat OLD-CRD NEW-CRD")
		os.Exit(2)
	}
	problems, err := compareFiles(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, "error:", p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

func compareFiles(before, after string) ([]string, error) {
	var texts [2][]byte
	for i, file := range []string{before, after} {
		var err error
		if texts[i], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return compare(texts[0], texts[1])
}
