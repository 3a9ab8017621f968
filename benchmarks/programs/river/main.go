// The peer River. The argument is the database's URL.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const update = "UPDATE feature_flags SET enabled = $2, rollout_percentage = $3, updated_at = now() WHERE id = $1"

// Change is a job: what one flag becomes.
type Change struct {
	Flag    string `json:"flag"`
	Enabled bool   `json:"enabled"`
	Rollout int    `json:"rollout"`
}

// Kind is the name that River knows the job by.
func (Change) Kind() string { return "change" }

// Worker updates the flags and remembers when the first one came.
type Worker struct {
	river.WorkerDefaults[Change]
	pool  *pgxpool.Pool
	once  sync.Once
	first time.Time
}

// Work does one job.
func (w *Worker) Work(ctx context.Context, job *river.Job[Change]) error {
	w.once.Do(func() { w.first = time.Now() })
	_, err := w.pool.Exec(ctx, update, job.Args.Flag, job.Args.Enabled, job.Args.Rollout)
	return err
}

func main() {
	result, err := run(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}

// run enqueues a job for each row of `due`, works them off and prints how long that took.
func run(ctx context.Context, url string) (map[string]any, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}

	worker := &Worker{pool: pool}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(driver, &river.Config{
		// Nearly those of River's own benchmark; its batch completer is always there.
		FetchCooldown:     river.FetchCooldownMin,
		FetchPollInterval: 20 * time.Millisecond,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1_000}},
		Workers:           workers,
	})
	if err != nil {
		return nil, err
	}
	due, err := enqueue(ctx, pool, client)
	if err != nil {
		return nil, err
	}

	completed, cancel := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: due, // events that find no room are dropped
		Kinds:    []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed},
	})
	defer cancel()
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	for range due {
		if event := <-completed; event.Kind != river.EventKindJobCompleted {
			return nil, fmt.Errorf("job %d failed", event.Job.ID)
		}
	}
	seconds := time.Since(worker.first).Seconds()
	if err := client.Stop(ctx); err != nil {
		return nil, err
	}

	var done int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE state = 'completed'").Scan(&done); err != nil {
		return nil, err
	}
	if done != due {
		return nil, fmt.Errorf("%d of %d jobs completed", done, due)
	}
	return map[string]any{"jobs": done, "seconds": seconds, "version": version()}, nil
}

func enqueue(ctx context.Context, pool *pgxpool.Pool, client *river.Client[pgx.Tx]) (int, error) {
	rows, err := pool.Query(ctx, "SELECT flag::text, enabled, rollout FROM due")
	if err != nil {
		return 0, err
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (river.InsertManyParams, error) {
		change, err := pgx.RowToStructByPos[Change](row)
		return river.InsertManyParams{Args: change}, err
	})
	if err != nil {
		return 0, err
	}
	if _, err := client.InsertManyFast(ctx, due); err != nil {
		return 0, err
	}
	_, err = pool.Exec(ctx, "CHECKPOINT")
	return len(due), err
}

func version() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			if module.Path == "github.com/riverqueue/river" {
				return module.Version
			}
		}
	}
	return "unknown"
}
