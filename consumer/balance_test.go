package consumer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// party is a group whose members balance it, as the protocol has it: who has to give
// something up does so and joins again.
type party struct {
	balancer   kgo.GroupBalancer
	topics     map[string]int32
	members    map[string]map[string][]int32 // what each has
	wants      map[string][]string
	generation int32
	next       int
}

func (p *party) join(wants ...string) {
	p.next++
	id := fmt.Sprint("m", p.next)
	p.members[id], p.wants[id] = map[string][]int32{}, wants
}

// settle rebalances until nobody has to give anything up.
func (p *party) settle(t require.TestingT) (rounds int) {
	for again := true; again; rounds++ {
		require.Less(t, rounds, 5, "the group does not come to rest")
		again = p.round(t)
	}
	return rounds
}

func (p *party) round(t require.TestingT) (again bool) {
	var joined []kmsg.JoinGroupResponseMember
	for id, has := range p.members {
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID, m.ProtocolMetadata = id, p.balancer.JoinGroupMetadata(slices.Sorted(slices.Values(p.wants[id])), has, p.generation)
		joined = append(joined, m)
	}
	slices.SortFunc(joined, func(a, b kmsg.JoinGroupResponseMember) int { return len(a.MemberID) - len(b.MemberID) })
	p.generation++
	b, _, err := p.balancer.MemberBalancer(joined)
	require.NoError(t, err)
	plan, err := b.(kgo.GroupMemberBalancerOrError).BalanceOrError(p.topics)
	require.NoError(t, err)
	owners := map[place]string{}
	for _, assigned := range plan.IntoSyncAssignment() {
		gets, err := p.balancer.ParseSyncAssignment(assigned.MemberAssignment)
		require.NoError(t, err)
		for topic, partitions := range gets {
			require.Contains(t, p.wants[assigned.MemberID], topic)
			for _, n := range partitions {
				require.Empty(t, owners[place{topic, n}], "%s/%d is given twice", topic, n)
				owners[place{topic, n}] = assigned.MemberID
			}
		}
	}
	for id, has := range p.members {
		for topic, partitions := range has {
			for _, n := range partitions {
				if to := owners[place{topic, n}]; to != id {
					require.Empty(t, to, "%s/%d is given away before it is given up", topic, n)
					again = true
				}
			}
		}
		p.members[id] = map[string][]int32{}
	}
	for at, id := range owners {
		p.members[id][at.topic] = append(p.members[id][at.topic], at.partition)
	}
	return again
}

func (p *party) owners() map[place]string {
	owners := map[place]string{}
	for id, has := range p.members {
		for topic, partitions := range has {
			for _, n := range partitions {
				owners[place{topic, n}] = id
			}
		}
	}
	return owners
}

func TestBalancer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sources := map[string]string{"retry": "orders", "redrive": "orders"}
		all := []string{"orders", "retry", "redrive"}
		n := rapid.Int32Range(1, 12).Draw(t, "partitions")
		p := &party{
			balancer: newBalancer(sources), members: map[string]map[string][]int32{}, wants: map[string][]string{},
			topics: map[string]int32{"orders": n, "retry": n + rapid.Int32Range(-1, 1).Draw(t, "more"), "redrive": n},
		}
		p.topics["retry"] = max(p.topics["retry"], 1)
		p.join(all...)
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			ids := make([]string, 0, len(p.members))
			for id := range p.members {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			if len(ids) > 1 && rapid.Bool().Draw(t, "leaves") {
				id := rapid.SampledFrom(ids).Draw(t, "who")
				delete(p.members, id)
				delete(p.wants, id)
			} else {
				p.join(all...)
			}
			p.settle(t)
			owners := p.owners()
			most, least := 0, int(n)
			for _, has := range p.members {
				most, least = max(most, len(has["orders"])), min(least, len(has["orders"]))
			}
			require.LessOrEqual(t, most-least, 1, "the source is not balanced: %v", p.members)
			for topic, source := range sources {
				for i := range p.topics[topic] {
					require.NotEmpty(t, owners[place{topic, i}], "nobody has %s/%d", topic, i)
					require.Equal(t, owners[place{source, i % n}], owners[place{topic, i}], "%s/%d is not where its source is", topic, i)
				}
			}
			require.Equal(t, 1, p.settle(t), "it is at rest")
		}
	})
}

// A topic of the policy's that only some members read, as in a deploy that adds a
// delay, is given to those.
func TestBalancerInADeploy(t *testing.T) {
	t.Parallel()
	p := &party{
		balancer: newBalancer(map[string]string{"retry": "orders", "retry2": "orders"}),
		topics:   map[string]int32{"orders": 6, "retry": 6, "retry2": 6},
		members:  map[string]map[string][]int32{}, wants: map[string][]string{},
	}
	p.join("orders", "retry")
	p.join("orders", "retry")
	p.settle(t)
	p.join("orders", "retry", "retry2")
	p.settle(t)
	require.Len(t, p.members["m3"]["retry2"], 6)
	require.Len(t, p.members["m3"]["orders"], 2)
	p.wants["m1"] = append(p.wants["m1"], "retry2")
	p.wants["m2"] = append(p.wants["m2"], "retry2")
	p.settle(t)
	for i := range int32(6) {
		require.Equal(t, p.owners()[place{"orders", i}], p.owners()[place{"retry2", i}])
	}
}

// Without a policy it is kgo's own.
func TestBalancerWithoutPolicy(t *testing.T) {
	t.Parallel()
	require.Equal(t, kgo.CooperativeStickyBalancer(), newBalancer(nil))
	require.Equal(t, "cooperative-sticky", newBalancer(map[string]string{"retry": "orders"}).ProtocolName())
	require.True(t, newBalancer(map[string]string{"retry": "orders"}).IsCooperative())
}
