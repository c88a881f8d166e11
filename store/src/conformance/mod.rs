//! One suite for both back ends: every case is a promise of [`Store`](crate::Store), and both must keep it.
//!
//! `store_conformance_suite!(factory)` expands to one test per case, where `factory` is an `async fn() -> (Arc<dyn Store>,
//! Guard)` that makes an empty store; the guard holds whatever the store needs to live. Cases use names of their own, so
//! that they may also share a store.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![expect(clippy::missing_panics_doc, reason = "a case panics when the promise is broken")]

pub mod audiences;
pub mod content;
pub mod fan_out;
pub mod kit;
pub mod lists;
pub mod log;
pub mod missed;
pub mod model;
pub mod notes_kit;
pub mod notifications;
pub mod outbox;
pub mod people;
pub mod reading;
pub mod resolve;
pub mod roles;
pub mod task_content;
pub mod task_kit;
pub mod task_lists;
pub mod task_model;
pub mod task_notes;
pub mod task_told;
pub mod tasks;
pub mod together;
pub mod unread;
pub mod upkeep;

/// Expands to one `#[tokio::test]` per case.
#[macro_export]
macro_rules! store_conformance_suite {
    ($factory:path) => {
        $crate::store_conformance_cases! { $factory;
            log: a_batch_over_several_rooms_is_numbered_without_holes,
            log: refusals_leave_no_hole_and_nothing_behind,
            log: a_repeated_nonce_returns_the_first_result,
            log: a_repeat_in_the_same_batch_returns_the_first_result,
            log: a_repeat_is_answered_after_the_sender_lost_the_right,
            log: concurrent_repeats_are_carried_out_once,
            log: a_nonce_with_another_body_is_a_conflict,
            log: a_refused_write_does_not_use_up_its_nonce,
            log: concurrent_commits_stay_dense,
            log: a_batch_beyond_the_limit_is_refused,
            log: the_tail_misses_nothing,
            roles: every_role_may_do_what_the_table_says,
            roles: an_archived_room_can_be_read_and_not_written,
            roles: a_private_room_does_not_exist_for_others,
            roles: a_public_room_says_that_one_is_no_member,
            roles: nobody_rises_above_the_one_who_invites,
            roles: a_channel_keeps_an_owner,
            roles: joining_again_changes_nothing,
            roles: a_direct_room_is_opened_once_from_both_sides,
            roles: a_direct_room_is_opened_once_however_many_try,
            roles: a_user_is_in_a_bounded_number_of_rooms,
            roles: memberships_are_told_to_the_user_with_their_numbers,
            content: events_show_messages_as_they_are_now,
            content: deleted_text_is_gone_everywhere,
            content: an_edit_on_an_old_version_is_refused,
            content: reactions_are_put_and_taken_once,
            content: reactions_are_bounded,
            content: a_message_keeps_everything_it_was_sent_with,
            content: history_goes_both_ways_without_repeating,
            content: history_since_join_never_shows_earlier_messages,
            lists: pages_begin_where_they_are_asked_to,
            lists: streams_that_do_not_exist_are_empty,
            lists: rooms_are_listed_by_their_ids,
            lists: members_are_listed_by_their_ids,
            lists: connect_is_one_picture_of_everything,
            missed: what_was_missed_comes_with_the_connect,
            missed: nothing_comes_of_what_a_user_may_not_see,
            missed: a_page_begins_where_the_stream_goes_on_for_its_user,
            missed: what_comes_with_a_connect_is_bounded,
            missed: all_texts_that_events_show_count_against_what_comes_with_a_connect,
            audiences: a_rooms_audience_is_its_members_while_they_are_few,
            audiences: who_shares_a_room_is_an_acquaintance_and_nobody_else,
            upkeep: trimming_takes_a_prefix_and_says_so,
            upkeep: what_is_expired_can_be_trimmed,
            upkeep: read_markers_only_move_forward,
            upkeep: a_new_epoch_is_carried_by_everything,
            upkeep: the_store_is_durable_and_answers_its_probe,
            people: every_role_acts_on_people_as_the_table_says,
            people: a_ban_keeps_out_until_it_is_taken_back,
            people: a_ban_ends_by_the_clock_of_the_store,
            people: a_kick_is_a_removal_and_may_be_come_back_from,
            people: a_muted_member_reads_and_writes_nothing,
            people: leaving_and_coming_back_does_not_end_a_mute,
            people: a_mute_ends_by_the_clock_of_the_store,
            people: an_act_is_carried_out_once_for_its_nonce,
            people: acts_on_people_exist_in_channels_only,
            people: revocations_are_told_in_the_stream_of_the_user,
            people: every_act_is_recorded_and_listed_newest_first,
            people: the_record_of_a_room_is_for_its_admins,
            people: bans_are_listed_for_admins_by_user,
            people: what_has_ended_is_dropped,
            model: unread_and_memberships_follow_a_simple_model,
        }
    };
}

/// The cases about notifications and webhooks, each in a store of its own, which hands out by
/// [`notes_kit::HAND_OUTS`](crate::conformance::notes_kit::HAND_OUTS).
#[macro_export]
macro_rules! store_notifications_suite {
    ($factory:path) => {
        $crate::store_conformance_cases! { $factory;
            notifications: a_message_notifies_whom_it_names_answers_or_is_for_once_each,
            notifications: who_left_is_not_notified_and_an_edit_notifies_nobody,
            notifications: a_refused_or_repeated_cause_leaves_no_notification,
            notifications: a_level_says_what_a_person_wants_to_know,
            notifications: preferences_are_told_and_listed,
            notifications: quiet_hours_make_no_noise_and_what_is_urgent_passes,
            notifications: nobody_gets_two_of_a_key,
            notifications: notices_say_what_they_say_and_announcements_reach_a_room_or_everyone,
            notifications: a_room_is_addressed_by_its_admins_and_by_who_may_any,
            reading: one_many_or_all_are_marked_read_and_told_to_other_devices,
            reading: notifications_are_listed_newest_first_by_pages,
            reading: what_is_urgent_is_acknowledged_once_on_any_device,
            reading: a_repeated_reading_is_answered_with_its_first_result,
            reading: pages_show_a_notification_as_it_is_now,
            reading: what_is_trimmed_is_gone_and_the_counter_stays_exact,
            reading: a_trace_tells_what_became_of_a_notification,
            reading: a_trace_names_the_ranges_that_hold_the_notification_and_no_others,
            reading: a_trace_finds_a_range_of_the_greatest_length,
            fan_out: fifty_are_notified_with_the_cause_and_more_by_a_job,
            fan_out: a_crowd_is_notified_in_steps_each_person_once,
            fan_out: a_crowd_is_told_as_each_of_them_prefers,
            fan_out: an_urgent_crowd_does_not_wait_for_one_that_is_not,
            fan_out: steps_at_the_same_time_notify_each_person_once,
            fan_out: everyone_is_whoever_is_known,
            fan_out: what_is_not_read_is_looked_at_and_what_is_silent_never,
            fan_out: a_dead_nodes_hand_outs_are_taken_over_and_settled_ones_stay_settled,
            fan_out: an_overdue_acknowledgement_is_said_to_be_overdue,
            fan_out: nodes_at_the_same_time_never_claim_the_same_hand_out,
            unread: unread_counters_follow_a_simple_model,
            task_notes: who_has_to_do_with_a_task_is_notified_of_it,
            task_notes: what_is_undone_together_notifies_nobody,
            task_notes: a_due_time_is_told_once_to_whoever_has_to_do_with_it,
            task_notes: due_times_are_told_once_however_many_ask,
            outbox: jobs_are_claimed_by_priority_then_by_age_and_only_once,
            outbox: jobs_of_targets_that_the_claimer_does_not_have_wait,
            outbox: claimers_at_the_same_time_never_get_the_same_job,
            outbox: a_dead_claimers_job_is_taken_over_and_its_late_word_does_not_count,
            outbox: a_job_is_never_tried_more_often_than_it_may_be,
            outbox: a_failed_attempt_is_repeated_after_its_pause_and_a_refused_one_never,
            outbox: dead_jobs_are_listed_by_pages_and_replayed_as_new,
            outbox: finished_jobs_are_kept_to_a_bound_and_unfinished_ones_always,
            outbox: every_job_ends_whoever_dies_in_whatever_order,
            outbox: a_trace_names_the_webhooks_that_carried_it,
        }
    };
}

/// The same for tasks, resolving, and what is done together.
#[macro_export]
macro_rules! store_task_suite {
    ($factory:path) => {
        $crate::store_conformance_cases! { $factory;
            tasks: a_task_keeps_everything_it_was_made_with,
            tasks: every_change_of_a_task_is_one_version_and_one_event,
            tasks: a_change_that_changes_nothing_is_no_event,
            tasks: a_stale_change_is_refused_with_the_task_as_it_is,
            tasks: of_concurrent_changes_of_one_version_one_is_made,
            tasks: a_task_goes_only_where_the_table_says,
            tasks: a_task_is_not_done_before_what_it_waits_on,
            tasks: nothing_waits_on_itself_whoever_links_at_once,
            tasks: a_refused_change_of_a_task_leaves_nothing_behind,
            tasks: links_and_assignees_of_a_task_are_bounded,
            task_content: a_deleted_task_is_gone_everywhere,
            task_content: comments_come_newest_first_and_are_bounded,
            task_content: who_makes_gets_or_comments_a_task_follows_it,
            task_content: tasks_are_for_members_of_the_room,
            task_content: a_repeated_change_of_a_task_returns_the_first_result,
            task_content: pages_show_tasks_as_they_are_now,
            task_content: trimming_a_room_keeps_its_tasks,
            task_lists: lists_of_tasks_follow_a_model_in_every_order_and_by_every_filter,
            task_lists: a_summary_counts_what_a_model_counts,
            task_lists: a_summary_names_the_most_loaded_people_only,
            task_lists: who_leaves_a_room_sees_none_of_its_tasks,
            task_lists: a_newcomer_sees_the_tasks_that_were_there_before,
            task_model: random_changes_of_tasks_follow_the_rules,
            task_told: a_task_is_told_to_whom_it_is_given_and_who_follows_it,
            task_told: comments_are_told_to_whom_they_name_and_to_followers,
            task_told: a_task_that_many_follow_is_told_in_steps,
            task_told: what_is_done_together_notifies_or_does_not_as_a_whole,
            resolve: a_name_is_told_in_the_stream_of_the_user,
            resolve: people_are_found_by_id_name_and_the_words_of_it,
            resolve: people_are_found_by_those_who_share_a_room_with_them,
            resolve: rooms_are_found_by_members_and_public_ones_by_everybody,
            resolve: tasks_are_found_by_members_of_their_room,
            resolve: a_phrase_may_mean_anything_likeliest_first_and_not_too_much,
            resolve: the_last_message_is_the_newest_that_one_may_see,
            resolve: everyone_on_a_task_are_its_assignees,
            together: what_is_done_together_is_done_in_order_and_names_what_it_made,
            together: one_refusal_undoes_all_that_was_to_be_done_together,
            together: what_was_done_together_is_repeated_with_its_first_results,
            together: a_repeat_within_what_is_done_together_is_done_once,
            together: several_rooms_take_part_in_what_is_done_together,
            together: a_direct_room_is_opened_and_written_to_together,
            together: only_so_much_is_done_together,
        }
    };
}

/// The expansion of [`store_conformance_suite`].
#[doc(hidden)]
#[macro_export]
macro_rules! store_conformance_cases {
    ($factory:path; $($group:ident: $case:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (store, _guard) = $factory().await;
            $crate::conformance::$group::$case(std::sync::Arc::clone(&store)).await;
            store.close().await;
        })*
    };
}
