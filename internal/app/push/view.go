package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/internal/app/admin"
)

func (o *options) validateAdmin() error {
	switch {
	case o.admin == "" && o.adminInsecure:
		return errors.New("--admin-insecure: only with --admin")
	case o.admin == "":
		return nil
	}
	if err := admin.Validate(o.admin, o.adminInsecure); err != nil {
		return fmt.Errorf("--admin %w", err)
	}
	return nil
}

// watch shows the consumer to those who run it, on the admin port and at SIGUSR1,
// until the function it returns is called.
func (o *options) watch(ctx context.Context, cmd *cobra.Command, c *consumer.Consumer, metrics http.Handler) (end func() error, err error) {
	closeAdmin := func() error { return nil }
	if o.admin != "" {
		server, err := admin.Start(ctx, admin.Config{Listen: o.admin, Insecure: o.adminInsecure, Part: c, Metrics: metrics})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: admin at http://%s\n", o.program, server.Addr())
		closeAdmin = server.Close
	}
	signals, stopSignals := reportSignals()
	over := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-signals:
				s := c.Status()
				report(cmd.ErrOrStderr(), o.program, &s)
			}
		}
	})
	return func() error {
		stopSignals()
		close(over)
		reporting.Wait()
		return closeAdmin()
	}, nil
}
