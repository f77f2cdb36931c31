//! The real Lima, with a guest that the suite makes, emulated in software: host → Lima VM → microVM.

mod faults;
mod host;
mod life;
mod set_up;
mod teardown;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::common::{said, skipped};
use crate::host::{Who, host};
use host::Lima;

type Step = (&'static str, fn(&Lima));

/// Each begins with whatever state of the VM the one before has left, and passes alone as well.
const STEPS: &[Step] = &[
    ("lima_itself_finds_the_file_valid", life::lima_itself_finds_the_file_valid),
    ("setup_of_a_vm_that_is_set_up_changes_nothing", life::setup_of_a_vm_that_is_set_up_changes_nothing),
    ("bytes_pass_both_ways_as_they_are", life::bytes_pass_both_ways_as_they_are),
    ("a_machine_in_the_lima_vm", life::a_machine_in_the_lima_vm),
    ("a_run_in_the_lima_vm", life::a_run_in_the_lima_vm),
    ("firecracker_in_the_lima_vm", life::firecracker_in_the_lima_vm),
    (
        "a_provisioning_that_is_cut_off_is_done_by_the_next",
        faults::a_provisioning_that_is_cut_off_is_done_by_the_next,
    ),
    ("a_clock_that_stood_still_is_set", faults::a_clock_that_stood_still_is_set),
    (
        "a_command_whose_vm_goes_away_is_taken_up_by_the_next",
        faults::a_command_whose_vm_goes_away_is_taken_up_by_the_next,
    ),
    ("a_killed_host_agent_is_repaired", faults::a_killed_host_agent_is_repaired),
    ("a_killed_qemu_is_started_again", faults::a_killed_qemu_is_started_again),
    ("a_lost_file_is_written_again", faults::a_lost_file_is_written_again),
    ("a_vm_that_does_not_answer_is_started_again", faults::a_vm_that_does_not_answer_is_started_again),
    ("a_vm_stopped_behind_mvms_back_is_started", faults::a_vm_stopped_behind_mvms_back_is_started),
    ("destroy_all_leaves_nothing", teardown::destroy_all_leaves_nothing),
];

/// One test, since there is one Lima VM, whose start takes minutes: it has a place of its own beside those of other tests.
/// `MVM_TEST_LIMA` names the steps that are wanted, by a part of their names.
#[test]
fn the_real_lima() {
    let Some(images) = host(Who::Root) else { return };
    let lima = match Lima::set_up(&images) {
        Ok(lima) => lima,
        Err(why) => return skipped(&format!("Lima's tests: {why}")),
    };
    let wanted = std::env::var("MVM_TEST_LIMA").unwrap_or_default();
    let mut failed = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let begun = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| step(&lima))).is_ok();
        said(&format!(
            "lima: {name} {} in {:.0} s",
            if passed { "passed" } else { "FAILED" },
            begun.elapsed().as_secs_f32()
        ));
        if !passed {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "of the real Lima failed: {}", failed.join(", "));
}
