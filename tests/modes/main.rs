//! The laws under every driver, from one body each: threads, tasks of tokio (on one thread, and on several) and of smol, and
//! all of them mixed on one flight. A scenario says who asks for what; [`driver`] says who is a thread and who is a task.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod load;

mod cancel;
mod changes;
mod deadline;
mod drops;
mod herd;
mod leaders;
mod reentry;
mod refresh;

/// A test for each scenario, in a module for each mode.
macro_rules! scenarios {
    (all: [$($file:ident::$scenario:ident,)*], with_tasks: [$($of_tasks:ident::$by_tasks:ident,)*]) => {
        scenarios!(@ blocking Blocking: $($file::$scenario)*);
        scenarios!(@ tokio_current TokioCurrent: $($file::$scenario)* $($of_tasks::$by_tasks)*);
        scenarios!(@ tokio_multi TokioMulti: $($file::$scenario)* $($of_tasks::$by_tasks)*);
        scenarios!(@ smol Smol: $($file::$scenario)* $($of_tasks::$by_tasks)*);
        scenarios!(@ mixed Mixed: $($file::$scenario)* $($of_tasks::$by_tasks)*);
    };
    (@ $module:ident $mode:ident: $($file:ident::$scenario:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    crate::driver::Mode::$mode.run(crate::$file::$scenario);
                }
            )*
        }
    };
}

scenarios!(
    all: [
        herd::a_cold_herd_computes_once,
        herd::callers_who_come_as_the_load_ends_cause_no_other,
        herd::a_herd_computes_once_where_nothing_is_kept,
        herd::keys_that_all_collide_have_a_flight_each,
        leaders::a_panicking_leader_hands_over_to_exactly_one,
        leaders::every_leader_panics_in_turn,
        leaders::a_failing_load_is_one_call_shared_by_all,
        leaders::a_failure_is_a_hand_over_to_those_who_cannot_be_told,
        changes::invalidate_in_mid_flight,
        changes::invalidate_all_in_mid_flight,
        changes::remove_in_mid_flight,
        changes::retain_in_mid_flight,
        changes::insert_in_mid_flight,
        changes::changes_as_the_load_ends,
        refresh::a_later_miss_joins_an_early_refresh,
        refresh::one_caller_refreshes_past_the_mark,
        refresh::a_refresh_stands_up_to_eviction,
        reentry::re_entry_is_answered_at_once,
        deadline::waiters_past_their_deadline_leave_one_flight,
        drops::what_is_made_is_dropped,
    ],
    with_tasks: [
        cancel::a_cancelled_leader_hands_over_to_exactly_one,
        cancel::all_but_three_cancel,
        cancel::all_cancel,
        cancel::a_leader_is_cancelled_as_its_load_ends,
    ]
);
