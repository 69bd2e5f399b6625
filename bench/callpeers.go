package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// echoMethodGRPC is what is called with gRPC.
const echoMethodGRPC = "/bench.Echo/Echo"

// echoGRPC has a server and a connection of gRPC on the loopback device, without a
// description in Protobuf: messages are bytes.
func echoGRPC(ctx context.Context, n *served) (echo, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return echo{}, err
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var value []byte
			if err := decode(&value); err != nil {
				return nil, err
			}
			value = n.answer(value)
			return &value, nil
		}}},
	}, n)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	if err != nil {
		server.Stop()
		return echo{}, errors.Join(err, <-ended)
	}
	return echo{
		call: func(ctx context.Context, value []byte) (answer []byte, err error) {
			err = conn.Invoke(ctx, echoMethodGRPC, &value, &answer)
			return answer, err
		},
		stop: func() error {
			err := conn.Close()
			server.GracefulStop()
			return errors.Join(err, <-ended)
		},
	}, nil
}

// bytesCodec has messages be the bytes that they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	value, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a message is a %T, want *[]byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*value)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	value, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a message is to be a %T, want *[]byte", v)
	}
	*value = data.Materialize()
	return nil
}

func (bytesCodec) Name() string { return "bytes" }

// echoHTTP has a server of net/http on the loopback device, and connections that are
// kept, one for each caller.
func echoHTTP(ctx context.Context, s spec, n *served) (echo, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return echo{}, err
	}
	server := &http.Server{ReadHeaderTimeout: callLimit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(n.answer(value)) // the caller misses what is not written
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	transport := &http.Transport{MaxIdleConns: s.Workload.Callers, MaxIdleConnsPerHost: s.Workload.Callers, DisableCompression: true}
	client, url := &http.Client{Transport: transport}, "http://"+listener.Addr().String()+"/"
	return echo{
		call: func(ctx context.Context, value []byte) ([]byte, error) { return post(ctx, client, url, value) },
		stop: func() error {
			transport.CloseIdleConnections()
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			err := server.Shutdown(ending)
			if ended := <-ended; !errors.Is(ended, http.ErrServerClosed) {
				err = errors.Join(err, ended)
			}
			return err
		},
	}, nil
}

func post(ctx context.Context, client *http.Client, url string, value []byte) (answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(value))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(answer)))
	}
	return answer, err
}
