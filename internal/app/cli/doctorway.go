package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

// certificateSoon is how long before its end a certificate is worth a warning.
const certificateSoon = 30 * 24 * time.Hour

// lookAtSettings says what is used and where it comes from. It reports whether a client can be
// made of it.
func (d *checkup) lookAtSettings() bool {
	flags := d.cmd.Flags()
	from := func(name string) string { return config.Origin(flags, name) }
	switch profile := d.flags.Profile(); {
	case profile == "":
		d.ok("profile", "none")
	case !strings.Contains(from("brokers"), ": profile "+profile):
		d.warn("profile", "unset that, or use another profile", "%s, but the brokers come from elsewhere: %s weighs more", profile, from("brokers"))
	default:
		d.ok("profile", "%s, by %s", profile, from(config.ProfileFlag))
	}
	d.ok("brokers", "%s, by %s", strings.Join(d.cluster.Brokers, ", "), from("brokers"))
	if err := d.flags.Writes(""); err != nil {
		d.ok("writing", "refused: read-only, says %s", from(config.ReadOnlyFlag))
	}
	if err := kafka.Validate(d.cluster); err != nil {
		d.failed("settings", "", err)
		return false
	}
	t, s := d.cluster.TLS, d.cluster.SASL
	switch {
	case t != nil && t.InsecureSkipVerify:
		d.warn("encryption", "use --tls-ca instead of --tls-insecure", "TLS with whoever answers: no certificate is checked")
	case t != nil:
		d.ok("encryption", "TLS, authorities %s", orWord(t.CAFile, "of this system"))
	case s != nil && s.Mechanism == duplex.SASLPlain:
		d.warn("encryption", "use --tls, and the broker's port for it", "none, and the password goes over the network as it is")
	default:
		d.ok("encryption", "none")
	}
	if t != nil && t.CertFile != "" {
		d.lookAtOurs(t)
	}
	switch {
	case s == nil:
		d.ok("credentials", "none")
	case s.Token != nil:
		d.ok("credentials", "%s, token in %s", s.Mechanism, from("sasl-token-file"))
	default:
		d.ok("credentials", "%s as %s, password by %s", s.Mechanism, s.Username, from("sasl-password"))
	}
	return true
}

func orWord(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// lookAtOurs looks at our own certificate.
func (d *checkup) lookAtOurs(t *duplex.TLS) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		d.failed("certificate", "", err)
		return
	}
	d.certificate("certificate", "ours, "+t.CertFile, pair.Leaf)
}

// certificate says when one ends.
func (d *checkup) certificate(check, text string, c *x509.Certificate) {
	left := time.Until(c.NotAfter)
	text += ", until " + c.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		d.wrong(check, "renew it", "%s: it has ended", text)
	case left < certificateSoon:
		d.warn(check, "renew it", "%s: %d days are left", text, int(left.Hours()/24))
	default:
		d.ok(check, "%s", text)
	}
}

// lookAtWay tries the brokers that the settings name. It reports whether one answered.
func (d *checkup) lookAtWay(ctx context.Context) bool {
	answered := false
	for _, address := range d.cluster.Brokers {
		if d.lookAtBroker(ctx, "broker", address, "") {
			answered = true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return answered
}

// lookAtAdvertised tries the brokers that the cluster names, but for those that were tried.
func (d *checkup) lookAtAdvertised(ctx context.Context) {
	for _, b := range d.metadata.Brokers {
		address := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		if slices.Contains(d.cluster.Brokers, address) {
			continue
		}
		d.lookAtBroker(ctx, "broker", address, fmt.Sprintf("the cluster names broker %d so, and programs must reach it there: look at its advertised.listeners", b.NodeID))
	}
}

// lookAtBroker goes to a broker step by step, and says at which one it does not go on.
func (d *checkup) lookAtBroker(ctx context.Context, check, address, fix string) bool {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err == nil && net.ParseIP(host) == nil {
		_, err = net.DefaultResolver.LookupHost(ctx, host)
	}
	if err != nil {
		d.wrong(check, "check the name, and that this machine asks the right name server", "%s: its name is not found: %v", address, err)
		return false
	}
	began := time.Now()
	conn, err := kafka.Dial(ctx, d.cluster, address)
	if errors.Is(err, io.EOF) && d.cluster.TLS != nil {
		d.wrong(check, "the port may not speak TLS: remove TLS, or use the broker's TLS port", "%s: the connection was closed at once", address)
		return false
	}
	if err != nil {
		d.failed(check, fix, kafka.Explain("", fmt.Errorf("%s: %w", address, err)))
		return false
	}
	took := time.Since(began)
	text := fmt.Sprintf("%s: connected in %.1f ms", address, float64(took.Microseconds())/1000)
	secured, isTLS := conn.(*tls.Conn)
	if isTLS {
		text += ", " + tls.VersionName(secured.ConnectionState().Version)
	}
	_ = conn.Close()
	if !d.speaks(ctx, check, address, fix) {
		return false
	}
	if s := d.cluster.SASL; s != nil {
		text += fmt.Sprintf(", %s accepted", s.Mechanism)
	}
	d.ok(check, "%s, speaks Kafka", text)
	if isTLS {
		if chain := secured.ConnectionState().PeerCertificates; len(chain) > 0 {
			d.certificate("certificate", "of "+address, chain[0])
		}
	}
	return true
}

// speaks asks the broker for an answer, once it has accepted our credentials.
func (d *checkup) speaks(ctx context.Context, check, address, fix string) bool {
	one := d.cluster
	one.Brokers = []string{address}
	client, err := kafka.NewClient(one, nil)
	if err != nil {
		d.failed(check, fix, err)
		return false
	}
	defer client.Close()
	err = kafka.Ping(ctx, client, "")
	if _, first := errors.AsType[*kgo.ErrFirstReadEOF](err); errors.Is(err, io.EOF) && !first && one.SASL != nil {
		d.wrong(check, "check user name, password and mechanism, and what this port wants", "%s: the broker closed the connection when we said who we are", address)
		return false
	}
	if err != nil {
		d.failed(check, fix, err)
	}
	return err == nil
}
