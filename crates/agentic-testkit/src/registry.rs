//! The one list of all cases, and the tests made of it.

/// Hands the list of all cases, by topic, to the macro `$then`, after `$args`.
#[doc(hidden)]
#[macro_export]
macro_rules! registry {
    ($then:path, $args:tt) => {
        $then! {
            $args
            create {
                create_is_all_or_nothing,
                create_by_key_is_once,
                a_rehearsal_answers_as_creating_and_writes_nothing,
                a_key_with_another_request_is_refused,
                a_replay_answers_with_the_present,
                a_key_raced_for_makes_one_task,
                an_id_raced_for_is_given_once,
                a_batch_keeps_its_order,
                a_replay_is_depended_on_under_its_own_id,
                what_was_asked_is_kept,
                a_fresh_task_is_blank,
                a_batch_has_1_to_1000_tasks,
                a_batch_names_nothing_twice,
                bounds_are_held,
            }
            dependencies {
                a_dependent_waits_and_is_released,
                all_dependencies_must_be_completed,
                a_completed_dependency_is_not_waited_for,
                a_batch_may_depend_on_itself_but_not_in_a_circle,
                a_long_chain_is_no_circle,
                a_dependency_that_ended_badly_is_named,
                a_requeued_dependency_releases_too,
                a_cancelled_dependent_stays_cancelled,
                what_is_over_is_not_released,
                blockers_are_derived,
                a_released_dependent_keeps_its_time,
                a_thousand_dependents_are_released_at_once,
                not_more_than_a_thousand_wait_for_one,
            }
            blocking {
                a_blocked_task_leaves_its_lane,
                blocking_twice_is_blocking_once,
                only_what_was_blocked_by_hand_is_unblocked,
                both_causes_must_clear,
                a_running_task_is_blocked_by_its_end,
                a_block_keeps_the_backoff,
                what_is_over_cannot_be_blocked,
                a_block_ends_with_its_task,
            }
            edit {
                an_edit_changes_what_it_names,
                an_empty_edit_tells_nothing,
                a_blocked_task_is_edited_in_place,
                only_what_waits_is_edited,
                an_edit_keeps_the_bounds,
                a_task_never_grows_younger,
            }
            lanes {
                a_lane_is_in_order,
                a_lane_is_labels_model_and_project,
                lanes_are_in_the_order_of_their_heads,
                many_lanes_are_in_order,
                a_claimed_task_leaves_its_lane,
                promote_moves_what_is_due,
                promotion_is_bounded,
                a_time_that_has_come_does_not_wait,
                the_next_due_instant_is_known,
                a_retry_waits_for_its_time,
                a_retry_that_is_due_does_not_wait,
                the_later_gate_counts,
                an_edit_moves_between_lanes,
            }
            parking {
                park_tells_only_changes,
                park_loses_to_a_newer_wake,
                a_parked_lane_lends_its_reason,
                a_lane_is_woken_by_its_name,
                lanes_are_woken_by_scope,
                deferred_tasks_are_woken,
                a_deferral_loses_to_a_newer_wake,
                a_wake_up_is_bounded,
                every_wake_up_counts,
                an_edit_wakes_the_lane,
                a_park_outlives_the_lanes_tasks,
            }
            claim {
                claim_has_one_winner,
                a_claim_makes_an_attempt,
                a_claim_of_its_own_starts,
                a_claim_waits_for_its_time,
                a_claim_needs_no_promotion,
                a_claim_names_the_next_attempt,
                only_what_is_pending_is_claimed,
                a_holder_renews_its_lease,
                a_run_out_lease_is_renewed_until_it_is_reaped,
                expired_names_what_ran_out,
                many_are_read_in_order,
                assigned_names_what_is_to_start,
                a_start_needs_a_live_lease,
                progress_is_noted_by_the_holder,
                progress_is_of_one_attempt,
            }
            fence {
                a_repeated_ending_gets_its_first_answer,
                a_repeated_failure_burns_once,
                another_answer_is_kept_but_changes_nothing,
                a_stale_attempt_changes_nothing,
                an_old_answer_repeated_is_not_kept,
                a_late_completion_after_expiry_is_accepted,
                a_late_completion_after_promotion_is_accepted,
                a_late_failure_burns_nothing_more,
                a_touched_task_is_fenced,
                a_dead_letter_is_fenced,
                without_a_fence_only_the_holder_ends,
                a_stranger_ends_nothing,
                a_live_lease_does_not_expire,
                an_expiry_raced_for_burns_once,
                a_completion_races_with_the_sweep,
                a_late_completion_after_a_deferral_is_accepted,
                a_late_release_is_only_refused,
                a_refused_ending_changes_nothing,
                the_tasks_half_holds_the_same_fence,
            }
            retry {
                a_failure_schedules_a_retry,
                dead_letter_comes_after_the_last_retry,
                every_path_counts_alike,
                what_follows_must_fit_the_count,
                no_retries_means_one_attempt,
                what_burns_nothing,
                a_release_gives_back_at_once,
                a_claim_keeps_the_count,
                a_requeue_starts_the_count_over,
                a_requeue_forgets_the_wait,
                only_what_ended_badly_is_requeued,
                any_open_task_is_called_off,
                a_task_is_given_up_as_failed,
                a_deferred_task_waits,
                only_what_is_pending_is_deferred,
            }
            reads {
                a_missing_task_is_not_found,
                a_list_is_filtered,
                a_list_finds_the_last_holder,
                pages_follow_each_other,
                a_cursor_needs_no_task,
                a_page_is_full_of_what_matches,
                counts_are_by_status,
                a_waiting_task_says_why,
                a_result_is_kept,
            }
            history {
                every_transition_is_told,
                events_name_agent_and_attempt,
                a_history_resumes,
            }
            prune {
                prune_deletes_what_is_long_over,
                prune_keeps_what_is_depended_on,
                prune_keeps_what_one_of_many_depends_on,
                a_pruning_is_bounded,
                pruning_leaves_the_meters,
                a_pruned_task_leaves_no_job,
                jobs_without_a_task_go_by_age,
                a_trim_tells_of_ended_jobs,
            }
            agents {
                register_is_an_upsert,
                incarnations_never_repeat,
                heartbeat_brings_back,
                an_older_incarnation_is_refused,
                reap_marks_the_silent,
                a_reaping_is_bounded,
                a_deregistered_agent_is_gone,
                draining_ends_with_the_next_start,
                a_heartbeat_never_goes_back,
                an_agent_keeps_the_bounds,
            }
            limits {
                an_allowance_is_set_and_removed,
                a_quota_is_set_and_removed,
                a_changed_limit_is_noticed,
                an_allowlist_is_bounded,
                a_budget_is_set_and_removed,
                a_budget_is_changed_by_who_has_seen_it,
            }
            windows {
                a_day_turns_at_midnight_to_the_millisecond,
                a_sliding_hour_frees_at_each_edge,
                no_true_hour_holds_more_than_its_cap,
                every_limit_holds_at_its_cap_and_one_beside_it,
                an_anchored_window_holds_to_its_end,
                use_after_a_window_counts_in_the_next,
                another_anchor_is_another_window,
                a_cap_can_be_lowered_below_its_use,
                the_largest_cap_is_exact,
            }
            admission {
                admission_never_passes_a_cap,
                admission_holds_every_cap_at_once,
                daily_tokens_at_the_edge,
                at_the_limit_is_over_the_limit,
                daily_jobs_at_the_edge,
                concurrent_jobs_at_the_edge,
                hourly_requests_at_the_edge,
                model_tokens_at_the_edge,
                spend_at_the_edge,
                the_first_limit_refuses,
                a_limit_without_a_cap_counts,
                a_refusal_changes_nothing,
                the_largest_amounts_are_exact,
                a_job_is_as_it_was_admitted,
                an_admission_is_idempotent_by_its_id,
                a_job_of_an_earlier_task_keeps_nobody_out,
                a_job_raced_for_is_admitted_once,
                an_admission_is_voided_by_its_own_id,
                a_reservation_ends_at_its_instant,
                a_run_out_reservation_is_admitted_anew,
                a_start_uses_one_job_and_one_request,
                a_run_out_reservation_does_not_start,
                a_reservation_is_extended,
                a_run_out_reservation_retakes_its_place,
                a_started_job_retakes_only_what_it_holds,
                what_is_over_is_not_extended,
                a_day_frees_at_midnight,
                a_reservation_lives_across_midnight,
                a_sliding_hour_at_the_edge,
                a_sliding_refusal_names_its_time,
                scopes_are_told_apart,
                readings_come_in_the_order_asked_for,
                run_out_reservations_are_told,
                an_unknown_job_is_absent,
            }
            metering {
                reports_are_cumulative,
                changed_limits_hold_a_running_job,
                a_limit_that_a_job_came_under_later_gets_no_refund,
                a_report_raced_for_is_charged_once,
                usage_replaces_the_reservation,
                a_token_cap_directs_the_job,
                a_spend_cap_directs_the_job,
                a_stop_is_for_all_under_the_cap_and_stays,
                counts_never_stop_a_job,
                an_unadmitted_report_is_charged_and_flagged,
                only_an_unadmitted_job_lives_by_its_reports,
                an_unadmitted_job_keeps_nobody_out,
                an_unadmitted_job_is_stopped,
                another_models_usage_is_its_own,
                a_report_may_stop_its_job,
                cost_is_priced_or_reported,
                categories_have_their_prices,
                requests_are_counted,
                without_a_price_cost_is_reported,
                a_cost_says_where_it_comes_from,
                a_report_starts_its_job,
                late_growth_is_charged_and_flagged,
                a_charge_belongs_to_its_day,
                crossing_80_percent_is_told_once,
                usage_is_told_at_start_and_settlement,
                a_reset_zeroes_the_day,
                a_refund_gives_an_agent_only_what_it_used_since_its_reset,
                a_refund_after_a_reset_makes_no_room,
            }
            settlement {
                each_outcome_gives_back_its_part,
                a_settlement_frees_the_place,
                a_job_settles_once,
                what_never_started_costs_nothing,
                a_stopped_job_refunds_nothing,
                refunds_come_from_the_newest_day,
                refunds_go_to_the_model_that_was_used,
                only_daily_tokens_are_given_back,
                a_run_out_job_settles_later,
                a_settled_job_stays_settled,
                any_order_settles_alike,
                a_folded_day_gives_back_only_while_it_counts,
            }
            ledger {
                a_ledger_is_read_newest_first,
                a_ledger_is_paged,
                what_was_folded_is_an_opening_balance,
                a_trim_tells_of_the_longer_of_the_two,
                a_fold_that_is_cut_off_still_adds_up,
            }
            assign {
                assign_is_both_or_neither,
                a_task_with_the_id_of_a_pruned_one_is_assigned,
                a_conflict_comes_before_a_refusal,
                the_halves_must_agree,
                a_dispatched_attempt_waits_for_its_start,
                a_taken_attempt_starts_at_once,
                only_a_ready_agent_is_given_work,
                who_takes_work_itself,
                a_task_raced_for_is_assigned_once,
                assignments_never_pass_a_cap,
                a_backlog_is_worked_off_once,
                an_unstarted_attempt_gives_everything_back,
                start_is_once,
                a_start_raced_for_counts_once,
                a_start_is_the_holders,
                a_restarted_agent_starts_afresh,
                a_start_without_an_admission_changes_nothing,
            }
            beat {
                a_heartbeat_hears_beats_and_counts,
                a_long_heartbeat_is_whole,
                beat_renews_and_charges,
                a_lease_never_outlives_its_reservation,
                a_beat_answers_each_in_order,
                a_beat_is_bounded,
                a_beat_starts_its_attempts,
                a_lost_attempt_is_stopped_and_charged,
                a_beat_says_what_its_job_was_charged,
                a_cancelled_attempt_is_told,
                another_agents_attempt_is_left_alone,
                a_beat_of_another_start_is_stopped,
                a_lease_ends_at_the_deadline,
                a_cap_stops_the_attempt,
                a_run_out_lease_is_renewed_with_its_places,
                a_lease_without_its_places_is_lost,
                what_ran_out_keeps_nobody_out,
                a_beat_too_late_to_start_is_stopped,
                a_lease_alone_is_not_enough,
                what_was_used_has_started,
                an_attempt_named_twice_is_one,
                what_has_run_out_holds_nothing_when_it_is_charged,
            }
            finish {
                finish_moves_and_settles,
                finish_is_once,
                a_failed_attempt_gives_half_back,
                an_expired_attempt_settles_as_failed,
                a_released_attempt_gives_back_its_place,
                an_unstarted_release_costs_nothing,
                an_ending_is_a_first_act,
                a_stopped_attempt_refunds_nothing,
                a_stopped_attempt_may_complete,
                a_cancelled_attempt_gives_all_back,
                a_late_result_is_charged,
                a_completion_after_expiry_settles_nothing_twice,
                an_attempt_admitted_elsewhere_ends,
                a_blocking_end_is_a_release,
                a_whole_life_adds_up,
            }
            events {
                a_cursor_skips_nothing,
                what_is_appended_is_read,
                an_append_moves_its_mark,
                a_mark_raced_for_moves_once,
                a_page_of_events_is_bounded,
                a_trim_is_by_age_and_bounded,
                a_trimmed_cursor_is_told,
                a_trimmed_history_goes_on,
                a_wait_ends_with_the_next_event,
                a_wait_ends_at_its_timeout,
            }
            settings {
                a_setting_is_put_and_removed,
                a_setting_raced_for_is_one_of_them,
            }
        }
    };
}

/// Makes one test of every case, in one module a topic.
///
/// `$fixture` names an `async fn() -> Fixture` in scope; every test builds its own. The crate that uses the macro
/// needs `tokio` with `macros` and `rt-multi-thread` among its own (development) dependencies.
#[macro_export]
macro_rules! conformance {
    ($fixture:ident) => {
        $crate::registry! { $crate::conformance_tests, ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    (($fixture:ident) $($topic:ident { $($case:ident,)* })*) => {
        $(
            mod $topic {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let fx = super::$fixture().await;
                        $crate::cases::$topic::$case(&fx).await;
                        fx.check().await;
                    }
                )*
            }
        )*
    };
}

macro_rules! names {
    (() $($topic:ident { $($case:ident,)* })*) => {
        /// The names of all cases, by topic.
        pub const CASES: &[(&str, &[&str])] = &[$((stringify!($topic), &[$(stringify!($case)),*])),*];
    };
}

registry! { names, () }
