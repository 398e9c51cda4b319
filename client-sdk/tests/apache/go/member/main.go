// Member of a consumer group with Apache's Go client. Prints one line for each delivery: key, redeliveries, queue id,
// tag, length and CRC-32 of the body, and the property "note" in hexadecimal digits, with tabs between them.
//
// The first N deliveries of a message with the tag "fail-N" fail, and all deliveries with the tag "dead". Leaves the
// group at the end of the standard input. Arguments: name server, namespace, topic, group, maximum redeliveries.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	rlog.SetLogLevel("error")
	namesrv, namespace, topic, group := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	redeliveries, err := strconv.Atoi(os.Args[5])
	check(err)
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer([]string{namesrv}),
		consumer.WithNamespace(namespace),
		consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumeMessageBatchMaxSize(1),
		consumer.WithMaxReconsumeTimes(int32(redeliveries)),
	)
	check(err)
	check(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}, handle))
	check(c.Start())
	_, err = io.Copy(io.Discard, os.Stdin)
	check(err)
	check(c.Shutdown())
}

func handle(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	result := consumer.ConsumeSuccess
	for _, m := range messages {
		fmt.Printf("%s\t%d\t%d\t%s\t%d\t%08x\t%x\n", m.GetKeys(), m.ReconsumeTimes, m.Queue.QueueId, m.GetTags(),
			len(m.Body), crc32.ChecksumIEEE(m.Body), m.GetProperty("note"))
		if fails(m) {
			if retry, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				retry.DelayLevelWhenNextConsume = 1
			}
			result = consumer.ConsumeRetryLater
		}
	}
	return result, nil
}

func fails(m *primitive.MessageExt) bool {
	if strings.HasPrefix(m.GetTags(), "fail-") {
		number, err := strconv.Atoi(strings.TrimPrefix(m.GetTags(), "fail-"))
		return err == nil && int(m.ReconsumeTimes) < number
	}
	return m.GetTags() == "dead"
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
