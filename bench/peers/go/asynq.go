package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hibiken/asynq"
)

// checkInterval is the pause between two checks for due tasks. The default of 5 s makes every
// task seconds late.
const checkInterval = 100 * time.Millisecond

type asynqPeer struct {
	redis  asynq.RedisClientOpt
	client *asynq.Client
}

func openAsynq(address string) peer {
	redis := asynq.RedisClientOpt{Addr: address, PoolSize: concurrency + 16}
	return &asynqPeer{redis: redis, client: asynq.NewClient(redis)}
}

func (a *asynqPeer) put(moments []int64) {
	for order, at := range moments {
		body, err := json.Marshal(payload{order, at})
		must(err)
		options := []asynq.Option{asynq.MaxRetry(5)}
		if at > 0 {
			options = append(options, asynq.ProcessAt(time.UnixMilli(at)))
		}
		_, err = a.client.Enqueue(asynq.NewTask("t", body), options...)
		must(err)
	}
}

// asynq creates one task a call.
func (a *asynqPeer) batches() (size, atOnce int) { return 1, concurrency }

func (a *asynqPeer) start(handle func(payload)) {
	config := asynq.Config{
		Concurrency:              concurrency,
		LogLevel:                 asynq.ErrorLevel,
		DelayedTaskCheckInterval: checkInterval,
	}
	handlers := asynq.NewServeMux()
	handlers.HandleFunc("t", func(_ context.Context, task *asynq.Task) error {
		var p payload
		must(json.Unmarshal(task.Payload(), &p))
		handle(p)
		return nil
	})
	must(asynq.NewServer(a.redis, config).Start(handlers))
}
