package protocodec_test

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/protocodec"
)

// Ticks is a topic whose values are messages that protoc-gen-go made.
var Ticks = duplex.Topic[*timestamppb.Timestamp]{Name: "ticks", Codec: protocodec.Proto}

func Example() {
	r, err := Ticks.Record(&timestamppb.Timestamp{Seconds: 1_700_000_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	contentType, _ := duplex.Header(r, duplex.HeaderContentType)
	fmt.Printf("%s, %d bytes\n", contentType, len(r.Value))

	tick, err := Ticks.Value(r)
	fmt.Println(tick.AsTime(), err)
	// Output:
	// application/protobuf, 6 bytes
	// 2023-11-14 22:13:20 +0000 UTC <nil>
}
