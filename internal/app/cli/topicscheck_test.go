package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// The embedded broker has all replicas in sync and always a leader.
func TestReplicasThatAreAway(t *testing.T) {
	t.Parallel()
	partitions := kadm.PartitionDetails{}
	for p := range int32(30) {
		partitions[p] = kadm.PartitionDetail{Partition: p, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
	}
	find := func() (says []string) {
		c := checked{Replicas: 3}
		(&checkOptions{}).lookAtReplicas(&c, partitions, 2)
		for _, f := range c.Findings {
			says = append(says, f.Code+": "+f.Says)
		}
		return says
	}
	require.Empty(t, find())
	partitions[4] = kadm.PartitionDetail{Partition: 4, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 3}}
	require.Empty(t, find(), "enough are in sync")
	for p := range int32(22) {
		partitions[p] = kadm.PartitionDetail{Partition: p, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1}}
	}
	partitions[25] = kadm.PartitionDetail{Partition: 25, Leader: -1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}
	partitions[26] = kadm.PartitionDetail{Partition: 26, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}, Err: kerr.LeaderNotAvailable}
	require.Equal(t, []string{
		"no-leader: partitions 25,26 have no leader",
		"few-in-sync: partitions 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19 and 2 more have too few replicas in sync, one only 1, and min.insync.replicas is 2: nothing can be published there",
	}, find())
}
