package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type riverPeer struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	handle func(payload)
}

type worker struct {
	river.WorkerDefaults[payload]
	peer *riverPeer
}

func (w *worker) Work(_ context.Context, job *river.Job[payload]) error {
	w.peer.handle(job.Args)
	return nil
}

func openRiver(address string) peer {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, address)
	must(err)
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	must(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	must(err)
	peer := &riverPeer{pool: pool}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{peer: peer})
	peer.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: concurrency}},
		Workers: workers,
	})
	must(err)
	return peer
}

func (r *riverPeer) put(moments []int64) {
	ctx := context.Background()
	if len(moments) == 1 {
		_, err := r.client.Insert(ctx, payload{0, moments[0]}, options(moments[0]))
		must(err)
		return
	}
	jobs := make([]river.InsertManyParams, len(moments))
	for order, at := range moments {
		jobs[order] = river.InsertManyParams{Args: payload{order, at}, InsertOpts: options(at)}
	}
	_, err := r.client.InsertMany(ctx, jobs)
	must(err)
}

func options(at int64) *river.InsertOpts {
	if at == 0 {
		return &river.InsertOpts{}
	}
	return &river.InsertOpts{ScheduledAt: time.UnixMilli(at)}
}

func (r *riverPeer) batches() (size, atOnce int) { return 1000, 4 }

func (r *riverPeer) start(handle func(payload)) {
	r.handle = handle
	must(r.client.Start(context.Background()))
}
