package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// headerBytes is the least that a request holds: key, version, correlation
	// ID and the length of the client ID.
	headerBytes = 2 + 2 + 4 + 2

	// maxFrame bounds a Produce request, as socket.request.max.bytes does on
	// Kafka; other requests have no use for more than maxControlFrame, and the
	// decoder spends up to 30 bytes of memory on one of theirs.
	maxFrame        = 100 << 20
	maxControlFrame = 4 << 20
)

// checkLength judges the length that a frame announces, given its first bytes
// behind the length.
func checkLength(length uint32, start []byte) error {
	if length < headerBytes {
		return fmt.Errorf("frame of %d bytes, a request has at least %d", length, headerBytes)
	}
	most := uint32(maxControlFrame)
	if key := binary.BigEndian.Uint16(start); key == uint16(kmsg.Produce) {
		most = maxFrame
	}
	if length > most {
		return fmt.Errorf("frame of %d bytes, this request may have %d", length, most)
	}
	return nil
}

// checkFrame judges a whole frame, without its length: whether the broker can
// read it. It panics for no input.
func checkFrame(frame []byte) (err error) {
	defer func() {
		// The decoder is generated from Kafka's schemas and bounds what it
		// allocates. Should it panic all the same, the frame is refused and
		// never reaches the broker, which would end the process.
		if r := recover(); r != nil {
			err = fmt.Errorf("decoding panics: %v", r)
		}
	}()
	reader := kbin.Reader{Src: frame}
	key, version := reader.Int16(), reader.Int16()
	req := kmsg.RequestForKey(key)
	if req == nil {
		return fmt.Errorf("unknown API key %d", key)
	}
	if err := checkVersion(req, version); err != nil {
		return err
	}
	req.SetVersion(version)
	reader.Int32() // correlation ID
	reader.NullableString()
	if req.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	if !reader.Ok() {
		return fmt.Errorf("%s v%d: header is cut off", kmsg.NameForKey(key), version)
	}
	if err := req.ReadFrom(reader.Src); err != nil {
		return fmt.Errorf("%s v%d: decoding: %w", kmsg.NameForKey(key), version, err)
	}
	return checkPassword(req)
}

func checkVersion(req kmsg.Request, version int16) error {
	most := req.MaxVersion()
	if req.Key() == int16(kmsg.ApiVersions) {
		most = math.MaxInt16 // a newer client asks with a newer version, and is told ours (KIP-511)
	}
	if version < 0 || version > most {
		return fmt.Errorf("%s has no version %d", kmsg.NameForKey(req.Key()), version)
	}
	return nil
}

// checkPassword refuses SASL PLAIN without a password: to kfake, any unknown
// user has that one.
func checkPassword(req kmsg.Request) error {
	auth, ok := req.(*kmsg.SASLAuthenticateRequest)
	if ok && len(auth.SASLAuthBytes) > 0 && auth.SASLAuthBytes[len(auth.SASLAuthBytes)-1] == 0 {
		return errors.New("SASLAuthenticate: the password is empty")
	}
	return nil
}
