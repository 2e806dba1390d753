package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	// The webhook runs as a process. By this import "go test" knows that its tests
	// must run again when it has changed.
	_ "tokenward.dev/tokenward/cmd/webhook/app"
	"tokenward.dev/tokenward/test/cluster"
)

// program returns the path of a program below cmd.
func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// programs builds all programs below cmd, and returns their directory. They stay
// there, so that the next package need not link them again.
var programs = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(cluster.Root(), "bin", "e2e")
	return dir, Build(dir+string(filepath.Separator), "./cmd/...")
})

// Build builds programs of this module. Packages that run side by side take turns,
// since none may write a program that another runs.
func Build(output, packages string) (err error) {
	dir := filepath.Dir(output)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks, too
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", output, packages)
	build.Dir = cluster.Root()
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
