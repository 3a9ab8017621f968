// The operator's mirror as one would write it in Go with controller-runtime, and no more than its least: the mark of
// how quick the API server lets any operator be. It has none of the operator's promises (locks, edits, late objects,
// repairs, deletions, Events, a log).
//
// For each object: the finalizer, a row, the status. Then, every second, what the processor has put into the outbox.
// The row's id is the object's uid, so that the way back needs no table.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const (
	finalizer = "flagschedule.io/finalizer"
	insert    = `INSERT INTO feature_flag_schedules (id, flag_id, scheduled_at, updates)
		SELECT $1, f.id, $4, $5 FROM feature_flags AS f WHERE f.flag_key = $2 AND f.environment = $3
		ON CONFLICT (id) DO NOTHING`
	outcomes = `SELECT id, schedule_id::text FROM flag_schedule_status_outbox ORDER BY id LIMIT 1000`
	served   = `DELETE FROM flag_schedule_status_outbox WHERE id = ANY ($1)`
)

type FlagSchedule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		FlagKey     string         `json:"flagKey"`
		Environment string         `json:"environment,omitempty"`
		ScheduledAt metav1.Time    `json:"scheduledAt"`
		Updates     map[string]any `json:"updates"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64              `json:"observedGeneration"`
		ScheduleID         string             `json:"scheduleId,omitempty"`
		Phase              string             `json:"phase,omitempty"`
		Conditions         []metav1.Condition `json:"conditions,omitempty"`
	} `json:"status,omitempty"`
}

// DeepCopyObject shares `updates`, which no caller changes.
func (in *FlagSchedule) DeepCopyObject() runtime.Object {
	out := *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Status.Conditions = append([]metav1.Condition(nil), in.Status.Conditions...)
	return &out
}

type FlagScheduleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FlagSchedule `json:"items"`
}

func (in *FlagScheduleList) DeepCopyObject() runtime.Object {
	out := FlagScheduleList{TypeMeta: in.TypeMeta, ListMeta: in.ListMeta, Items: make([]FlagSchedule, len(in.Items))}
	for at := range in.Items {
		out.Items[at] = *in.Items[at].DeepCopyObject().(*FlagSchedule)
	}
	return &out
}

type mirror struct {
	client.Client
	database *pgxpool.Pool
	atOnce   int
	names    sync.Map // the way back from a row to its object
}

func (m *mirror) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var object FlagSchedule
	if err := m.Get(ctx, request.NamespacedName, &object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	m.names.Store(string(object.UID), request.NamespacedName)
	if object.Status.ObservedGeneration == object.Generation {
		return ctrl.Result{}, nil
	}
	if before := object.DeepCopyObject().(*FlagSchedule); controllerutil.AddFinalizer(&object, finalizer) {
		if err := m.Patch(ctx, &object, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, err
		}
	}
	spec := object.Spec
	if spec.Environment == "" {
		spec.Environment = "production"
	}
	if _, err := m.database.Exec(ctx, insert, string(object.UID), spec.FlagKey, spec.Environment, spec.ScheduledAt.Time,
		spec.Updates); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, m.writeStatus(ctx, &object, "Pending", "Mirrored")
}

func (m *mirror) writeStatus(ctx context.Context, object *FlagSchedule, phase, reason string) error {
	before := object.DeepCopyObject().(*FlagSchedule)
	object.Status.ObservedGeneration = object.Generation
	object.Status.ScheduleID = string(object.UID)
	object.Status.Phase = phase
	object.Status.Conditions = []metav1.Condition{{
		Type: "Ready", Status: metav1.ConditionTrue, Reason: reason, Message: phase + ".",
		ObservedGeneration: object.Generation, LastTransitionTime: metav1.Now(),
	}}
	return m.Status().Patch(ctx, object, client.MergeFrom(before))
}

// Start writes what the processor has done, until the manager stops it.
func (m *mirror) Start(ctx context.Context) error {
	for tick := time.Tick(time.Second); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
			if err := m.serve(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

type entry struct {
	ID       int64
	Schedule string
}

func (m *mirror) serve(ctx context.Context) error {
	for {
		rows, _ := m.database.Query(ctx, outcomes)
		entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
		if err != nil || len(entries) == 0 {
			return err
		}
		group, within := errgroup.WithContext(ctx)
		group.SetLimit(m.atOnce)
		done := make([]int64, len(entries))
		for at, each := range entries {
			done[at] = each.ID
			group.Go(func() error {
				var object FlagSchedule
				name, _ := m.names.Load(each.Schedule)
				if err := m.Get(within, name.(types.NamespacedName), &object); err != nil {
					return err
				}
				return m.writeStatus(within, &object, "Applied", "Applied")
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if _, err := m.database.Exec(ctx, served, done); err != nil {
			return err
		}
	}
}

func run() error {
	atOnce := flag.Int("at-once", 10, "how many objects are reconciled at a time")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	stop := ctrl.SetupSignalHandler()
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	config.MaxConns = 16 // the database lets its user have 20
	database, err := pgxpool.NewWithConfig(stop, config)
	if err != nil {
		return err
	}
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	cluster.QPS = -1 // the API server's own limits are the only ones
	scheme := runtime.NewScheme()
	group := schema.GroupVersion{Group: "flagschedule.io", Version: "v1alpha1"}
	scheme.AddKnownTypes(group, &FlagSchedule{}, &FlagScheduleList{})
	metav1.AddToGroupVersion(scheme, group)
	made, err := manager.New(cluster, manager.Options{Scheme: scheme, Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	mirror := &mirror{Client: made.GetClient(), database: database, atOnce: *atOnce}
	if err := made.Add(mirror); err != nil {
		return err
	}
	edits := builder.WithPredicates(predicate.GenerationChangedPredicate{}) // not what we write ourselves
	options := controller.Options{MaxConcurrentReconciles: *atOnce}
	if err := ctrl.NewControllerManagedBy(made).For(&FlagSchedule{}, edits).WithOptions(options).Complete(mirror); err != nil {
		return err
	}
	return made.Start(stop)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
