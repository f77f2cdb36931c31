//! What commands do about shared folders: check them, have them kept, tell how they fare.

use super::Context;
use super::reach::Reached;
use super::running::existing;
use crate::config::{self, Host, Settings};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::microvm::{
    self, Change, MachineName, MountSpec, Scope, Spec, Wanted, came_and_went, readable_spec, refuse_conflict,
};
use crate::shares::{Place, Request, State, Status};
use crate::shell::Call;

/// Folders as flags name them, from here.
pub(super) fn absolute(mounts: &[MountSpec]) -> Result<Vec<MountSpec>> {
    let here = std::env::current_dir()?;
    Ok(mounts.iter().map(|mount| mount.clone().beneath(&here)).collect())
}

/// A folder that is not there would be an empty one in the machine, or an error far from its cause.
pub(super) fn check_folders(name: &MachineName, mounts: &[MountSpec]) -> Result<()> {
    for MountSpec { host, guest, .. } in mounts {
        let what = match fs_err::metadata(host) {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(_) => "is no folder".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is not there".to_owned(),
            Err(error) => format!("cannot be read ({})", error.kind()),
        };
        let what = format!("`{}`, which is to be `{guest}` in `{name}`, {what}", host.display());
        return Err(Error::failure(what)
            .hint(format!("make it; what is shared no longer goes by `mvm mount rm {guest} {name}`")));
    }
    Ok(())
}

/// What a machine that was reached shares, with what `wanted` says of it, is mounted when this is over, or it is told why not.
pub(super) fn bring(context: &mut Context<'_>, wanted: &Wanted<'_>, reached: &Reached) -> Result<()> {
    let Some(spec) = &reached.spec else { return Ok(()) };
    let spec = bring_written(context, wanted, spec)?;
    let statuses = share(context, &spec)?;
    tell(context, &spec.name, &statuses, &wanted.changes.mounts)
}

/// The machine's spec with the folders that `wanted` says.
fn bring_written(context: &mut Context<'_>, wanted: &Wanted<'_>, spec: &Spec) -> Result<Spec> {
    if let Some(spec) = write(context, spec, wanted.changes.mounts_over(&spec.mounts), true)? {
        return Ok(spec);
    }
    // Another mvm changed the machine meanwhile.
    let observed = context.look(Scope { machine: Some(&spec.name), probe: false })?;
    let spec = readable_spec(existing(context, &observed, &spec.name)?)?;
    let mounts = wanted.changes.mounts_over(&spec.mounts);
    Ok(write(context, spec, mounts, false)?.unwrap_or_else(|| spec.clone()))
}

/// The machine's spec with these folders and no others, written down; where it is `strict`, nothing if the machine was changed by
/// another meanwhile.
pub(super) fn write(
    context: &mut Context<'_>,
    spec: &Spec,
    mounts: Vec<MountSpec>,
    strict: bool,
) -> Result<Option<Spec>> {
    if mounts == spec.mounts {
        return Ok(Some(spec.clone()));
    }
    refuse_conflict(&mounts)?;
    let new: Vec<_> = mounts.iter().filter(|mount| !spec.mounts.contains(mount)).cloned().collect();
    check_folders(&spec.name, &new)?;
    let lines = came_and_went("shares", &spec.mounts, &mounts);
    let new = Spec { mounts, ..spec.clone() };
    let change = Change { spec: new.clone(), lines };
    let written = context.run(&microvm::write_change(strict.then_some(spec), &change)?)?;
    Ok(written.then_some(new))
}

/// Has exactly the machine's folders shared, and waits until each is mounted or broken. The machine has to run.
pub(super) fn share(context: &mut Context<'_>, spec: &Spec) -> Result<Vec<Status>> {
    let place = place(&context.settings, &spec.name);
    let request = Request::Share(spec.mounts.clone());
    if spec.mounts.is_empty() {
        return Ok(place.ask(&request)?.unwrap_or_default());
    }
    context.ui.step(&match &spec.mounts[..] {
        [mount] => format!("Sharing {} as {}", mount.host.display(), mount.guest),
        mounts => format!("Sharing {} folders", mounts.len()),
    });
    // Another mvm may start or end one at the same time.
    for _ in 0..3 {
        if let Some(statuses) = place.ask(&request)? {
            context.ui.settle();
            return Ok(statuses);
        }
        if !place.start(&keeper(context, &spec.name)?)? {
            break;
        }
    }
    let log = fs_err::read_to_string(place.log()).unwrap_or_default();
    let said = log.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
    Err(Error::failure(format!("nobody keeps the shared folders of `{}`{said}", spec.name))
        .hint(format!("`mvm mount ls {}` tries again", spec.name)))
}

/// Says what is not as it should be; what was asked for just now is an error.
pub(super) fn tell(
    context: &mut Context<'_>,
    name: &MachineName,
    statuses: &[Status],
    asked: &[MountSpec],
) -> Result<()> {
    for Status { mount, why, .. } in statuses.iter().filter(|status| status.state != State::Mounted) {
        let why = why.as_deref().unwrap_or("it takes long");
        let what =
            format!("`{}` is not shared with `{name}` as `{}`: {why}", mount.host.display(), mount.guest);
        let hint = if why.contains("sshfs") {
            format!(
                "`mvm exec {name} -- apt-get install -y sshfs`, then `mvm mount ls {name}`; the image `debian` has it, as `mvm setup --image debian` builds it for new machines"
            )
        } else {
            format!("`mvm mount ls {name}` tells how it fares; it is tried again by itself")
        };
        if asked.contains(mount) {
            return Err(Error::failure(what).hint(hint));
        }
        context.ui.warn(format!("{what} ({hint})"));
    }
    Ok(())
}

/// Starts the keeper that a machine has lost, if it has; nobody waits for it.
pub(super) fn mend(context: &mut Context<'_>, name: &MachineName) {
    let place = place(&context.settings, name);
    if place.is_lost() {
        let started = keeper(context, name).and_then(|call| place.start(&call));
        tracing::debug!(?started, "the keeper of shared folders was lost");
    }
}

/// Before a machine is ended: its folders stay for as long as it does, and no longer.
pub(super) fn let_go(context: &mut Context<'_>, name: &MachineName) {
    let told = place(&context.settings, name).ask(&Request::LetGo);
    tracing::debug!(?told, "the keeper of shared folders");
}

/// Before a machine is frozen: its folders are unmounted until it goes on.
pub(super) fn withdraw(context: &mut Context<'_>, name: &MachineName) {
    let told = place(&context.settings, name).ask(&Request::Share(Vec::new()));
    tracing::debug!(?told, "the keeper of shared folders");
}

/// Those machines are gone.
pub(super) fn forget(context: &Context<'_>, names: &[MachineName]) {
    for name in names {
        place(&context.settings, name).forget();
    }
}

/// Where the machine's keeper is found.
pub(super) fn place(settings: &Settings, name: &MachineName) -> Place {
    Place::new(&config::state_dir(), &side(settings), name)
}

/// What tells this Linux side from others.
pub(super) fn side(settings: &Settings) -> String {
    match (settings.host, config::mvm_home()) {
        (Host::Lima, _) => "lima".to_owned(),
        (Host::Native, None) => "native".to_owned(),
        // Short: a socket's path has little room.
        (Host::Native, Some(home)) => Sha256::of(home.as_bytes()).to_string()[..8].to_owned(),
    }
}

fn keeper(context: &Context<'_>, name: &MachineName) -> std::io::Result<Call> {
    context.itself(&["mount", "keep", name.as_str()])
}
