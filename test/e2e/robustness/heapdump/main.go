// Command heapdump is the webhook with one addition for tests: on SIGUSR1 it
// collects garbage twice and writes a heap dump to the file that HEAPDUMP names.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"tokenward.dev/tokenward/cmd/webhook/app"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			if err := dump(os.Getenv("HEAPDUMP")); err != nil {
				fmt.Fprintln(os.Stderr, "heap dump:", err)
			}
		}
	}()
	if err := app.NewCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// dump writes to another name first, so that the file is complete once it is there.
func dump(path string) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(f.Fd())
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}
