//! One suite for both back ends: every case is a promise of [`Store`](crate::Store), and both must keep it.
//!
//! `store_conformance_suite!(factory)` expands to one test per case, where `factory` is an `async fn() -> (Arc<dyn Store>,
//! Guard)` that makes an empty store; the guard holds whatever the store needs to live. Cases use names of their own, so
//! that they may also share a store.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![expect(clippy::missing_panics_doc, reason = "a case panics when the promise is broken")]

pub mod audiences;
pub mod content;
pub mod kit;
pub mod lists;
pub mod log;
pub mod missed;
pub mod model;
pub mod people;
pub mod roles;
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
