// Consumer with Apache's Go client. Prints one line for each delivery:
// tag, key, body in hexadecimal digits, redeliveries, run id, and the property TC_EMPTY, with tabs between them.
// The first delivery of a message with the tag "again" fails.
package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	rlog.SetLogLevel("error")
	namesrv, namespace, topic, group, expression := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer([]string{namesrv}),
		consumer.WithNamespace(namespace),
		consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumeMessageBatchMaxSize(1),
	)
	check(err)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
	check(c.Subscribe(topic, selector, handle))
	check(c.Start())
	select {}
}

func handle(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	result := consumer.ConsumeSuccess
	for _, m := range messages {
		fmt.Printf("%s\t%s\t%s\t%d\t%s\t%s\n", m.GetTags(), m.GetKeys(), hex.EncodeToString(m.Body),
			m.ReconsumeTimes, m.GetProperty("TC_RUN_ID"), m.GetProperty("TC_EMPTY"))
		if m.GetTags() == "again" && m.ReconsumeTimes == 0 {
			if retry, ok := primitive.GetConcurrentlyCtx(ctx); ok {
				retry.DelayLevelWhenNextConsume = 1
			}
			result = consumer.ConsumeRetryLater
		}
	}
	return result, nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
