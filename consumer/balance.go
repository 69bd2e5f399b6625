package consumer

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// balancer is the cooperative-sticky balancer, which would make the number of
// partitions even over all topics: with a policy's topics beside the sources, a member
// could have most of a source and another the retry topics, where next to nothing
// happens. So only the sources are balanced, and each partition of the policy's topics
// goes to whoever has the partition of that number of its source.
//
// It has the protocol's own name and metadata: members of other clients may be in the
// group, and balance it in their way when they lead it.
type balancer struct {
	kgo.GroupBalancer
	sources map[string]string // of the policy's topics
}

func newBalancer(sources map[string]string) kgo.GroupBalancer {
	sticky := kgo.CooperativeStickyBalancer()
	if len(sources) == 0 {
		return sticky
	}
	return balancer{sticky, sources}
}

// MemberBalancer implements kgo.GroupBalancer.
func (b balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	all, err := kgo.NewConsumerBalancer(b, members)
	if err != nil {
		return nil, nil, fmt.Errorf("consumer: reading what members of the group want: %w", err)
	}
	topics := all.MemberTopics()
	return all, topics, nil
}

// Balance implements kgo.ConsumerBalancerBalance.
func (b balancer) Balance(all *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	plan, err := b.balanceSources(all, topics)
	if err != nil {
		all.SetError(err)
		return nil
	}
	b.follow(all, topics, plan.AsMemberIDMap())
	plan.AdjustCooperative(all) // nothing has two owners on the way
	return plan
}

// balanceSources is the plan for all topics that are not the policy's.
func (b balancer) balanceSources(all *kgo.ConsumerBalancer, topics map[string]int32) (*kgo.BalancePlan, error) {
	var members []kmsg.JoinGroupResponseMember
	all.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		wants := *meta
		wants.UserData = nil // says what OwnedPartitions says
		wants.Topics = slices.DeleteFunc(slices.Clone(meta.Topics), b.isBeside)
		wants.OwnedPartitions = slices.DeleteFunc(slices.Clone(meta.OwnedPartitions), func(p kmsg.ConsumerMemberMetadataOwnedPartition) bool {
			return b.isBeside(p.Topic)
		})
		member := *m
		member.ProtocolMetadata = wants.AppendTo(nil)
		members = append(members, member)
	})
	sticky, names, err := b.GroupBalancer.MemberBalancer(members)
	if err != nil {
		return nil, fmt.Errorf("consumer: balancing the group: %w", err)
	}
	counts := map[string]int32{}
	for name := range names {
		counts[name] = topics[name]
	}
	var assigned kgo.IntoSyncAssignment
	if fallible, ok := sticky.(kgo.GroupMemberBalancerOrError); ok {
		assigned, err = fallible.BalanceOrError(counts)
	} else {
		assigned = sticky.Balance(counts)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer: balancing the group: %w", err)
	}
	plan, ok := assigned.(*kgo.BalancePlan)
	if !ok {
		return nil, fmt.Errorf("consumer: balancing the group: the client's plan is a %T, which is not known here", assigned)
	}
	return plan, nil
}

func (b balancer) isBeside(topic string) bool { return b.sources[topic] != "" }

// follow adds the policy's topics to a plan, by member and topic.
func (b balancer) follow(all *kgo.ConsumerBalancer, topics map[string]int32, plan map[string]map[string][]int32) {
	owner := map[place]string{}
	for member, assigned := range plan {
		for topic, partitions := range assigned {
			for _, p := range partitions {
				owner[place{topic, p}] = member
			}
		}
	}
	want := map[string][]string{} // members, by topic
	all.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		for _, topic := range meta.Topics {
			want[topic] = append(want[topic], m.MemberID)
		}
	})
	for topic, source := range b.sources {
		members, of := want[topic], topics[source]
		for p := range topics[topic] {
			if len(members) == 0 {
				break
			}
			to, number := members[int(p)%len(members)], p
			if of > 0 {
				number = p % of
				to = owner[place{source, number}]
			}
			if to == "" {
				continue // it is on its way, and so is this one
			}
			if !slices.Contains(members, to) { // it does not read the topic, which others do in a deploy
				to = members[int(number)%len(members)]
			}
			plan[to][topic] = append(plan[to][topic], p)
		}
	}
}
