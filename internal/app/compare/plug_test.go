package compare

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

func TestAPulledPlugCutsEveryConnection(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	cluster, p := through(duplex.Cluster{Dial: func(context.Context, string, string) (net.Conn, error) { return here, nil }})
	conn, err := cluster.Dial(t.Context(), "tcp", "broker:9092")
	require.NoError(t, err)
	require.Same(t, here, conn)
	require.False(t, p.out())
	p.pull()
	require.True(t, p.out())
	_, err = there.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "it is still open")
	_, err = cluster.Dial(t.Context(), "tcp", "broker:9092")
	require.ErrorIs(t, err, errPulled)
}

func TestAConnectionThatComesAfterThePlugIsClosed(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	var p *plug
	var cluster duplex.Cluster
	cluster, p = through(duplex.Cluster{Dial: func(context.Context, string, string) (net.Conn, error) {
		p.pull()
		return here, nil
	}})
	_, err := cluster.Dial(t.Context(), "tcp", "broker:9092")
	require.ErrorIs(t, err, errPulled)
	_, err = there.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}
