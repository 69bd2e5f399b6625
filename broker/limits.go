package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
)

// limit answers requests that kfake would carry out to the letter: two billion
// partitions, or a topic by a name that no Kafka takes.
func limit(kafka *kfake.Cluster) {
	answer := func(key kmsg.Key, answer func(kmsg.Request) kmsg.Response) {
		kafka.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
			kafka.KeepControl()
			resp := answer(req)
			return resp, nil, resp != nil
		})
	}
	answer(kmsg.CreateTopics, refuseTopics)
	answer(kmsg.CreatePartitions, refusePartitions)
}

// refuseTopics gives the answer to a request in which a topic breaks a rule:
// nothing of it is carried out. It gives nil to the others.
func refuseTopics(req kmsg.Request) kmsg.Response {
	create, ok := req.(*kmsg.CreateTopicsRequest)
	if !ok {
		return nil
	}
	resp := kmsg.NewPtrCreateTopicsResponse()
	resp.SetVersion(create.Version)
	refused := false
	for _, t := range create.Topics {
		answer := kmsg.NewCreateTopicsResponseTopic()
		answer.Topic = t.Topic
		answer.ErrorCode, answer.ErrorMessage = judgePartitions(max(int(t.NumPartitions), len(t.ReplicaAssignment)))
		if err := duplex.ValidateTopicName(t.Topic); err != nil {
			answer.ErrorCode, answer.ErrorMessage = kerr.InvalidTopicException.Code, kmsg.StringPtr(err.Error())
		}
		refused = refused || answer.ErrorCode != kerr.InvalidRequest.Code
		resp.Topics = append(resp.Topics, answer)
	}
	if !refused {
		return nil
	}
	return resp
}

// refusePartitions is refuseTopics for adding partitions.
func refusePartitions(req kmsg.Request) kmsg.Response {
	create, ok := req.(*kmsg.CreatePartitionsRequest)
	if !ok {
		return nil
	}
	resp := kmsg.NewPtrCreatePartitionsResponse()
	resp.SetVersion(create.Version)
	refused := false
	for _, t := range create.Topics {
		answer := kmsg.NewCreatePartitionsResponseTopic()
		answer.Topic = t.Topic
		answer.ErrorCode, answer.ErrorMessage = judgePartitions(max(int(t.Count), len(t.Assignment)))
		refused = refused || answer.ErrorCode != kerr.InvalidRequest.Code
		resp.Topics = append(resp.Topics, answer)
	}
	if !refused {
		return nil
	}
	return resp
}

// judgePartitions gives what a topic is answered in a request that is refused,
// whether for its own fault or for that of another topic.
func judgePartitions(n int) (code int16, message *string) {
	if n > maxPartitions {
		return kerr.InvalidPartitions.Code, kmsg.StringPtr(fmt.Sprintf("this broker creates up to %d partitions a topic", maxPartitions))
	}
	return kerr.InvalidRequest.Code, kmsg.StringPtr("another topic of this request is refused")
}
