package dlq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/offsets"
)

// Plan is what a job is to do with which letters, found out before anything is done. It may
// be kept as JSON, looked at by somebody else, and applied later: what is not as it was then
// is refused. Letters that arrive after it are not part of it.
type Plan struct {
	// ID is that of what the plan says: it changes if somebody changes the plan.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Queue is the topic of the letters, QueueID its ID.
	Queue   string `json:"queue"`
	QueueID string `json:"queue_id,omitempty"`
	// Filter says which letters, Limit how many at most; 0 is no limit.
	Filter string `json:"filter,omitempty"`
	Limit  int64  `json:"limit,omitempty"`
	Target Target `json:"target,omitzero"`
	// Edited says that a command, or a function, changes the records.
	Edited bool `json:"edited,omitempty"`
	// By, Reason and Made say who made it, why and when; Forced that a guard was overruled.
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Made   time.Time `json:"made"`
	Forced bool      `json:"forced,omitempty"`

	// Records and Bytes are of the letters that were chosen.
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Partitions say where they are.
	Partitions []PlanPartition `json:"partitions"`
	// Causes count them by fingerprint, most first, at most 100 of these.
	Causes []PlanCause `json:"causes,omitempty"`
	// To are the topics that they go to, with the groups that read those.
	To []PlanTopic `json:"to,omitempty"`
	// Blocked counts the letters that the filter has and the plan leaves out, by reason.
	Blocked map[Blocked]int64 `json:"blocked,omitempty"`
	// Scanned is how many letters were looked at, open or not.
	Scanned int64 `json:"scanned"`
	// Samples are the first three.
	Samples []PlanSample `json:"samples,omitempty"`
}

// PlanPartition is the part of a plan that lies in one partition of the queue.
type PlanPartition struct {
	Partition int32 `json:"partition"`
	// Start and End are the offsets that the partition had: letters from End on are newer.
	Start   int64 `json:"start"`
	End     int64 `json:"end"`
	Records int64 `json:"records"`
	// Selected has the offsets of the letters, Copies those of second copies of them, in
	// the format of docs/wire-format.md.
	Selected [][]byte `json:"selected,omitempty"`
	Copies   [][]byte `json:"copies,omitempty"`
}

// PlanCause counts the letters of one fingerprint.
type PlanCause struct {
	Fingerprint string `json:"fingerprint"`
	Records     int64  `json:"records"`
	Message     string `json:"message"`
}

// PlanTopic is a topic that records go to.
type PlanTopic struct {
	Topic      string     `json:"topic"`
	Partitions int32      `json:"partitions"`
	Records    int64      `json:"records"`
	Receivers  []Receiver `json:"receivers"`
}

// PlanSample is one of the letters, and where it goes.
type PlanSample struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	ID        string `json:"id"`
	Message   string `json:"message"`
	To        string `json:"to,omitempty"`
	ToPart    int32  `json:"to_partition"`
}

// Blocked says why a letter that the filter has is left out of a plan.
type Blocked string

// Why letters are left out.
const (
	BlockedLoop     Blocked = "loop"      // it came back too often; Force overrules it
	BlockedNoOrigin Blocked = "no-origin" // it does not say where it came from, or whose it is
	BlockedNoTopic  Blocked = "no-topic"  // the topic that it would go to does not exist
	BlockedGone     Blocked = "gone"      // its value is at its origin, and that is gone
)

// Took estimates how long the plan takes at so many records a second.
func (p *Plan) Took(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(p.Records) / rate * float64(time.Second)).Round(time.Second)
}

// hash is the ID of what the plan says.
func (p *Plan) hash() string {
	of := *p
	of.ID = ""
	text, err := json.Marshal(of)
	if err != nil {
		return "" // there is nothing in it that could not be written
	}
	sum := sha256.Sum256(text)
	return "p" + hex.EncodeToString(sum[:6])
}

// selection are the offsets of a plan's letters, by partition.
func (p *Plan) selection() (selected, copies map[int32]offsets.Set, err error) {
	selected, copies = map[int32]offsets.Set{}, map[int32]offsets.Set{}
	for _, part := range p.Partitions {
		for set, pieces := range map[*map[int32]offsets.Set][][]byte{&selected: part.Selected, &copies: part.Copies} {
			var all offsets.Set
			for _, piece := range pieces {
				some, err := offsets.Decode(piece)
				if err != nil {
					return nil, nil, fmt.Errorf("dlq: reading a plan: partition %d: %w", part.Partition, err)
				}
				all.Join(some)
			}
			if !all.Empty() {
				(*set)[part.Partition] = all
			}
		}
	}
	return selected, copies, nil
}

// bare is the plan without its selection, which is kept beside it.
func (p Plan) bare() Plan {
	p.Partitions = slices.Clone(p.Partitions)
	for i := range p.Partitions {
		p.Partitions[i].Selected, p.Partitions[i].Copies = nil, nil
	}
	return p
}

// PlanConfig says what a plan is to be about.
type PlanConfig struct {
	// Kind is what to do. Defaults to KindRedrive.
	Kind Kind
	// Filter chooses among the letters that are open, or, to restore, discarded. The zero
	// Filter has all.
	Filter Filter
	// Target is where redriven records go. Defaults to the redrive topic of their group.
	Target Target
	// Limit is how many letters at most, the oldest of each partition first. Defaults to
	// all.
	Limit int64
	// Edited says that ApplyConfig.Edit will change the records.
	Edited bool
	// By says who it is, Reason why. Discarding, and Force, need a reason.
	By, Reason string
	// Force has letters in it that came back MaxGeneration times or more, and a group that
	// nobody runs.
	Force bool
	// MaxGeneration is how often a letter may have come back. Defaults to
	// DefaultMaxGeneration.
	MaxGeneration int
	// Progress, unless it is nil, is told a few times a second how far the scan is.
	Progress func(Progress)
}

// DefaultMaxGeneration is how often a letter may have come back to be redriven without
// Force.
const DefaultMaxGeneration = 3

func (c PlanConfig) withDefaults() PlanConfig {
	if c.Kind == "" {
		c.Kind = KindRedrive
	}
	if c.MaxGeneration == 0 {
		c.MaxGeneration = DefaultMaxGeneration
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c PlanConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	switch {
	case c.Kind != KindRedrive && c.Kind != KindDiscard && c.Kind != KindRestore:
		errs = append(errs, fmt.Errorf("dlq: PlanConfig.Kind %q: want %s, %s or %s", c.Kind, KindRedrive, KindDiscard, KindRestore))
	case c.Kind != KindRedrive && c.Target != Target{}:
		errs = append(errs, fmt.Errorf("dlq: PlanConfig.Target: only a redrive has one, this is to %s", c.Kind))
	case c.Kind == KindDiscard && c.Reason == "":
		errs = append(errs, errors.New("dlq: PlanConfig.Reason is empty: to discard letters needs one"))
	case c.Force && c.Reason == "":
		errs = append(errs, errors.New("dlq: PlanConfig.Reason is empty: Force needs one"))
	}
	if c.Limit < 0 {
		errs = append(errs, fmt.Errorf("dlq: PlanConfig.Limit %d: want 0, for all, or more", c.Limit))
	}
	if c.MaxGeneration < 1 {
		errs = append(errs, fmt.Errorf("dlq: PlanConfig.MaxGeneration %d: want 1 or more", c.MaxGeneration))
	}
	if len(c.Reason) > maxMessage || len(c.By) > maxWord {
		errs = append(errs, fmt.Errorf("dlq: PlanConfig.Reason has %d bytes and By %d: at most %d and %d fit", len(c.Reason), len(c.By), maxMessage, maxWord))
	}
	return errors.Join(errs...)
}

// recent are the letters that were chosen, as far as second copies of them may follow.
type recent struct {
	seed maphash.Seed
	is   map[int32]*window
}

func (r *recent) hash(l *Letter) uint64 { return maphash.String(r.seed, l.ID) + uint64(l.Generation) }

func (r *recent) add(l *Letter) {
	if r.is[l.Partition] == nil {
		r.is[l.Partition] = &window{}
	}
	r.is[l.Partition].seen(r.hash(l))
}

func (r *recent) has(l *Letter) bool {
	w := r.is[l.Partition]
	return w != nil && w.has(r.hash(l))
}

// planner makes a plan.
type planner struct {
	*Redriver
	cfg  PlanConfig
	plan *Plan

	selected, copies map[int32]offsets.Set
	causes           map[string]*PlanCause
	to               map[string]*PlanTopic // Partitions is −1 where there is no topic
	recent           recent
	origins          origins
}

// Plan finds out what a redrive, a discard or a restore would do, and changes nothing. It
// reads the whole queue, without keeping it. A plan without letters is fine.
//
// The error is coded as duplex.ErrRefused where a guard says no: a target that is a queue,
// or not allowed, or that nobody reads.
func (r *Redriver) Plan(ctx context.Context, queue string, cfg PlanConfig) (*Plan, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &planner{
		Redriver: r, cfg: cfg.withDefaults(), selected: map[int32]offsets.Set{}, copies: map[int32]offsets.Set{},
		causes: map[string]*PlanCause{}, to: map[string]*PlanTopic{}, recent: recent{maphash.MakeSeed(), map[int32]*window{}}, origins: origins{},
	}
	p.plan = &Plan{
		Kind: p.cfg.Kind, Queue: queue, Filter: p.cfg.Filter.String(), Limit: p.cfg.Limit, Target: p.cfg.Target, Edited: p.cfg.Edited,
		By: p.cfg.By, Reason: p.cfg.Reason, Made: time.Now().UTC().Truncate(time.Millisecond), Forced: p.cfg.Force,
		Blocked: map[Blocked]int64{},
	}
	if err := p.checkTarget(); err != nil {
		return nil, err
	}
	if err := p.scan(ctx); err != nil {
		return nil, err
	}
	if err := p.receivers(ctx); err != nil {
		return nil, err
	}
	p.finish()
	return p.plan, nil
}

// checkTarget refuses a topic that nothing may be sent to.
func (p *planner) checkTarget() error {
	topic := p.cfg.Target.Topic
	refused := func(hint string) error {
		return &duplex.Error{Op: fmt.Sprintf("dlq: planning a redrive of %s to %s", p.plan.Queue, p.cfg.Target), Codes: []duplex.Code{duplex.ErrRefused}, Hint: hint}
	}
	switch {
	case topic == "":
		return nil
	case topic == p.plan.Queue || isQueue(topic):
		return refused("that is a dead-letter queue: choose the topic of a handler")
	case !allowed(p.Redriver.cfg.Allow, topic):
		return refused(fmt.Sprintf("the topics that are allowed are %q: add it there, or use the group's own redrive topic", p.Redriver.cfg.Allow))
	}
	return nil
}

// scan chooses letters.
func (p *planner) scan(ctx context.Context) error {
	scanned, err := p.inspector.Scan(ctx, p.plan.Queue, ScanConfig{Progress: p.cfg.Progress}, func(l *Letter) error { return p.look(ctx, l) })
	if err != nil {
		return err
	}
	p.plan.QueueID = topicIDText(scanned.TopicID)
	for _, part := range scanned.Partitions {
		p.plan.Partitions = append(p.plan.Partitions, PlanPartition{Partition: part.Partition, Start: part.From, End: part.To})
	}
	return nil
}

// look chooses a letter, or leaves it out.
func (p *planner) look(ctx context.Context, l *Letter) error {
	p.plan.Scanned++
	if l.State == StateDuplicate {
		if p.recent.has(l) {
			p.add(p.copies, l)
		}
		return nil
	}
	if want := p.wanted(); l.State != want || !p.cfg.Filter.Match(l) || (p.cfg.Limit > 0 && p.plan.Records >= p.cfg.Limit) {
		return nil
	}
	var to *PlanTopic
	if p.cfg.Kind == KindRedrive {
		var why Blocked
		var err error
		if to, why, err = p.address(ctx, l); err != nil {
			return err
		}
		if why != "" {
			p.plan.Blocked[why]++
			return nil
		}
		to.Records++
	}
	p.add(p.selected, l)
	p.recent.add(l)
	p.plan.Records++
	p.plan.Bytes += int64(l.Size)
	p.count(l)
	if len(p.plan.Samples) < 3 {
		s := PlanSample{Partition: l.Partition, Offset: l.Offset, ID: l.ID, Message: bounded(l.ErrorMessage, maxWord)}
		if to != nil {
			s.To, s.ToPart = to.Topic, p.cfg.Target.partitionOf(l, to.Partitions)
		}
		p.plan.Samples = append(p.plan.Samples, s)
	}
	return nil
}

func (p *planner) wanted() State {
	if p.cfg.Kind == KindRestore {
		return StateDiscarded
	}
	return StateOpen
}

func (p *planner) add(to map[int32]offsets.Set, l *Letter) {
	set := to[l.Partition]
	set.Add(l.Offset)
	to[l.Partition] = set
}

// mostCauses bounds what is counted by fingerprint.
const mostCauses = 1000

func (p *planner) count(l *Letter) {
	c := p.causes[l.Fingerprint]
	if c == nil {
		if len(p.causes) >= mostCauses {
			return
		}
		c = &PlanCause{Fingerprint: l.Fingerprint, Message: bounded(l.ErrorMessage, maxWord)}
		p.causes[l.Fingerprint] = c
	}
	c.Records++
}

// address is the topic that a letter goes to, or why it goes nowhere.
func (p *planner) address(ctx context.Context, l *Letter) (*PlanTopic, Blocked, error) {
	name := p.cfg.Target.of(l)
	switch {
	case !isTopicName(name):
		return nil, BlockedNoOrigin, nil
	case isQueue(name):
		return nil, BlockedNoTopic, nil
	case l.Generation >= p.cfg.MaxGeneration && !p.cfg.Force:
		return nil, BlockedLoop, nil
	}
	if l.Pointer {
		if there, err := p.there(ctx, l); err != nil || !there {
			return nil, BlockedGone, err
		}
	}
	to := p.to[name]
	if to == nil {
		if len(p.to) >= mostCauses {
			return nil, BlockedNoTopic, nil
		}
		to = &PlanTopic{Topic: name, Partitions: -1}
		topics, err := kafka.Topics(ctx, p.client, "dlq", name)
		switch {
		case err == nil:
			to.Partitions = topics[0].Partitions
		case !errors.Is(err, duplex.ErrUnknownTopic):
			return nil, "", err
		}
		p.to[name] = to
	}
	if to.Partitions < 1 {
		return nil, BlockedNoTopic, nil
	}
	return to, "", nil
}

func isTopicName(name string) bool { return name != "" && duplex.ValidateTopicName(name) == nil }

// finish writes down what was found.
func (p *planner) finish() {
	for i := range p.plan.Partitions {
		part := &p.plan.Partitions[i]
		selected := p.selected[part.Partition]
		copies := p.copies[part.Partition]
		part.Records = selected.Len()
		part.Selected, part.Copies = selected.Encode(maxPiece), copies.Encode(maxPiece)
	}
	causes := slices.SortedFunc(maps.Values(p.causes), func(a, b *PlanCause) int { return int(b.Records - a.Records) })
	for _, c := range causes[:min(len(causes), 100)] {
		p.plan.Causes = append(p.plan.Causes, *c)
	}
	if len(p.plan.Blocked) == 0 {
		p.plan.Blocked = nil
	}
	p.plan.ID = p.plan.hash()
}
