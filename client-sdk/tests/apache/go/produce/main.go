// Producer with Apache's Go client. Sends messages and prints the key of each after the broker has confirmed it.
//
// Arguments: name server, namespace, topic, prefix of the keys, number of messages, bytes of a body, messages in one
// request. The key is the prefix and a number from 0. The body repeats the key and "|".
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	rlog.SetLogLevel("error")
	namesrv, namespace, topic, prefix := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	count, size, batch := number(os.Args[5]), number(os.Args[6]), number(os.Args[7])
	p, err := rocketmq.NewProducer(
		producer.WithNameServer([]string{namesrv}),
		producer.WithNamespace(namespace),
		producer.WithGroupName("interop_producer"),
		producer.WithRetry(0),
	)
	check(err)
	check(p.Start())
	for at := 0; at < count; at += batch {
		var messages []*primitive.Message
		for n := at; n < count && n < at+batch; n++ {
			messages = append(messages, message(topic, prefix+strconv.Itoa(n), size))
		}
		result, err := p.SendSync(context.Background(), messages...)
		check(err)
		if result.Status != primitive.SendOK {
			check(fmt.Errorf("%v", result))
		}
		for _, m := range messages {
			fmt.Println(m.GetKeys())
		}
	}
	check(p.Shutdown())
}

func message(topic, key string, size int) *primitive.Message {
	unit := key + "|"
	m := primitive.NewMessage(topic, []byte(strings.Repeat(unit, size/len(unit)+1)[:size]))
	m.WithTag("go")
	m.WithKeys([]string{key})
	m.WithProperty("note", "ä任务🦀 = ; \"")
	return m
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
