use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, ExitCode, Stdio};

use super::Context;
use super::exec::{attach, exit_code};
use super::running::{running, wake};
use crate::error::{Error, Result};
use crate::microvm::MachineName;
use crate::microvm::session::{NOT_REACHED, Session};
use crate::shell::Attached;
use crate::transfer::{self, Arrival};

const EXAMPLES: &str = "\
Examples:
  mvm cp notes.txt web:                  into the home folder there
  mvm cp -r src web:/srv                 a tree, to /srv/src
  mvm cp src/. web:/srv                  what is in it, to /srv
  mvm cp web:/var/log/syslog .
  mvm cp web:/etc/hosts db:/tmp/hosts    from machine to machine
  pg_dump app | mvm cp - db:/tmp/app.sql

A path with a `:` after a machine's name is in that machine; write ./web:x for a file of that name here.";

/// Copy files and trees between this host and machines, or between machines
///
/// A target that is a folder gets the source into it; folders that are there are filled up. Modes, times and symbolic
/// links are kept, setuid bits only towards machines; the files belong to whoever receives them: in a machine its user, who may
/// write where that user may (between machines root keeps the owners). A source that is itself a link is followed. A copy that is interrupted leaves nothing under the target's name.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Cp {
    /// For those who are used to it: trees are always copied whole
    #[arg(short, short_alias = 'a', hide = true)]
    recursive: bool,
    /// The machine's user to be there [default: the machine's user, which is root unless `--user` made one]
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// What is copied: PATH, NAME:PATH, or `-` for standard input
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<OsString>,
    /// Where to: PATH, NAME:PATH, or `-` for standard output
    #[arg(required = true, value_name = "TARGET")]
    target: OsString,
}

/// The exit code of a side that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Stream,
    Here(PathBuf),
    There(MachineName, OsString),
}

/// A machine, and who one is there.
#[derive(Debug, Clone, Copy)]
struct Guest<'a> {
    name: &'a MachineName,
    user: Option<&'a str>,
}

impl Place {
    fn parse(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let machine = bytes.iter().position(|byte| *byte == b':').and_then(|colon| {
            let name = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
            Some(Self::There(name, OsString::from_vec(bytes[colon + 1..].to_vec())))
        });
        machine.unwrap_or_else(|| Self::Here(text.into()))
    }
}

pub fn run(context: &mut Context<'_>, args: &Cp) -> Result<ExitCode> {
    let target = Place::parse(&args.target);
    let sources: Vec<Place> = args.sources.iter().map(|source| Place::parse(source)).collect();
    if let (Place::Here(path), true) = (&target, sources.len() > 1)
        && !path.is_dir()
    {
        return Err(Error::usage(format!("`{}` is no folder: several things need one", path.display())));
    }
    let machines = sources.iter().chain([&target]).filter_map(|place| match place {
        Place::There(name, _) => Some(name),
        _ => None,
    });
    // What is read from a stream could not be read again.
    wake(context, machines)?;
    let several = sources.len() > 1;
    for (source, text) in sources.iter().zip(&args.sources) {
        let label = format!("Copying {}", text.display());
        let guest = |name| Guest { name, user: args.user.as_deref() };
        match (source, &target) {
            (Place::There(from, path), Place::Stream) => {
                let code = stream_out(context, guest(from), path)?;
                if code != 0 {
                    return Ok(exit_code(code));
                }
            }
            (Place::Stream, Place::There(to, path)) => stream_in(context, guest(to), path)?,
            (Place::Here(from), Place::There(to, path)) => {
                push(context, &label, from, guest(to), &folder(path, several))?;
            }
            (Place::There(from, path), Place::Here(to)) => pull(context, &label, guest(from), path, to)?,
            (Place::There(from, path), Place::There(to, to_path)) => {
                relay(context, &label, (guest(from), path), (guest(to), &folder(to_path, several)))?;
            }
            (Place::Here(_) | Place::Stream, Place::Here(_) | Place::Stream) => {
                return Err(Error::usage("neither side is in a machine")
                    .hint("write a machine's side as NAME:PATH, such as `web:/srv`"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Several things go into a folder, which has to be there.
fn folder(path: &OsStr, several: bool) -> OsString {
    let mut path = path.to_owned();
    if several {
        path.push("/");
    }
    path
}

/// What is in a folder, rather than the folder: `src/.`
fn content_only(path: &OsStr) -> bool {
    path == "." || path.as_bytes().ends_with(b"/.")
}

/// The guest's side of a copy.
fn copy(
    context: &Context<'_>,
    guest: Guest<'_>,
    words: &[&OsStr],
    stdin: Stdio,
    stdout: Stdio,
) -> Result<Attached> {
    let command = [OsStr::new("/run/mvm/copy")].iter().chain(words).map(OsString::from).collect();
    let session = Session { command, input: true, user: guest.user, ..Session::default() };
    attach(&context.linux.wrap(session.call(guest.name)), stdin, stdout)
}

/// The end of one side of a copy, and of the work on this one: the guest's own words, on standard error, say most.
fn end(
    context: &mut Context<'_>,
    Guest { name, .. }: Guest<'_>,
    side: Attached,
    work: std::io::Result<()>,
) -> Result<()> {
    let code = side.wait()?;
    context.ui.settle();
    if code == NOT_REACHED {
        running(context, name)?;
        return Err(Error::connection(format!("the connection to `{name}` broke"))
            .hint("the target is as it was before; copy again"));
    }
    if code == INTERRUPTED {
        return Err(Error::interrupted("interrupted: the target is as it was before"));
    }
    match work {
        Err(error) if code == 0 || error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ if code != 0 => Err(Error::failure("nothing was copied").hint("the target is as it was before")),
        _ => Ok(()),
    }
}

fn push(context: &mut Context<'_>, label: &str, from: &Path, to: Guest<'_>, path: &OsStr) -> Result<()> {
    let bar = context.ui.bar(label, Some(transfer::size(from)));
    let whole = fs_err::canonicalize(from)?;
    let name = match whole.file_name() {
        Some(name) if !content_only(from.as_os_str()) => name,
        _ => OsStr::new("."),
    };
    let mut side = copy(context, to, &["in".as_ref(), path, name], Stdio::piped(), Stdio::inherit())?;
    let work = side.child.stdin.take().map_or(Ok(Vec::new()), |stdin| {
        transfer::pack(from, std::io::BufWriter::with_capacity(1 << 18, stdin), &|bytes| bar.inc(bytes))
    });
    let left_out = work.as_ref().map(Clone::clone).unwrap_or_default();
    end(context, to, side, work.map(|_| ()))?;
    for path in left_out {
        context.ui.warn(format!("`{}` was left out: it is no file, folder or link", path.display()));
    }
    Ok(())
}

fn pull(context: &mut Context<'_>, label: &str, from: Guest<'_>, path: &OsStr, to: &Path) -> Result<()> {
    let arrival = Arrival::at(to)?;
    let bar = context.ui.bar(label, None);
    let mut side = copy(context, from, &["out".as_ref(), path], Stdio::null(), Stdio::piped())?;
    let work = side
        .child
        .stdout
        .take()
        .map_or(Ok(()), |stdout| transfer::unpack(stdout, arrival.path(), &|bytes| bar.inc(bytes)));
    end(context, from, side, work)?;
    Ok(arrival.settle(content_only(path))?)
}

fn relay(
    context: &mut Context<'_>,
    label: &str,
    (from, path): (Guest<'_>, &OsStr),
    (to, to_path): (Guest<'_>, &OsStr),
) -> Result<()> {
    let bar = context.ui.bar(label, None);
    let mut source = copy(context, from, &["out".as_ref(), path], Stdio::null(), Stdio::piped())?;
    let stdout: Option<ChildStdout> = source.child.stdout.take();
    let mut target = None;
    let work = stdout.map_or(Ok(()), |stdout| {
        let named = |name: &OsString| -> std::io::Result<Box<dyn Write>> {
            let name = if content_only(path) { OsStr::new(".") } else { name };
            let words = ["in".as_ref(), to_path, name];
            let mut side = copy(context, to, &words, Stdio::piped(), Stdio::inherit())
                .map_err(|error| std::io::Error::other(error.source))?;
            let stdin = side.child.stdin.take();
            target = Some(side);
            stdin
                .map(|stdin| Box::new(stdin) as Box<dyn Write>)
                .ok_or_else(|| std::io::Error::other("no input"))
        };
        let mut stdout = stdout;
        let done = transfer::relay(&mut stdout, named, &|bytes| bar.inc(bytes));
        std::io::copy(&mut stdout.take(1 << 20), &mut std::io::sink())?;
        done
    });
    let unbroken = |work: &std::io::Result<()>| match work {
        Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        Ok(()) => Ok(()),
    };
    match target {
        None => end(context, from, source, unbroken(&work)),
        Some(target) => {
            end(context, to, target, unbroken(&work))?;
            end(context, from, source, work)
        }
    }
}

fn stream_in(context: &mut Context<'_>, to: Guest<'_>, path: &OsStr) -> Result<()> {
    if path.is_empty() || path.as_bytes().ends_with(b"/") {
        return Err(Error::usage("a stream has no name of its own")
            .hint(format!("name the file it is to become: `{}:/tmp/file`", to.name)));
    }
    let bar = context.ui.bar("Copying standard input", None);
    // In a folder there is no name for it, and the guest says so.
    let mut side =
        copy(context, to, &["stream".as_ref(), path, ".".as_ref()], Stdio::piped(), Stdio::inherit())?;
    let work = side.child.stdin.take().map_or(Ok(()), |stdin| {
        transfer::send_chunks(std::io::stdin().lock(), stdin, &|bytes| bar.inc(bytes))
    });
    end(context, to, side, work)
}

fn stream_out(context: &mut Context<'_>, from: Guest<'_>, path: &OsStr) -> Result<i32> {
    let command = ["cat", "--"].map(OsString::from).into_iter().chain([path.to_owned()]).collect();
    let session = Session { command, user: from.user, ..Session::default() };
    let code =
        attach(&context.linux.wrap(session.call(from.name)), Stdio::null(), Stdio::inherit())?.wait()?;
    if code == NOT_REACHED {
        running(context, from.name)?;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_a_copy() {
        let there = |name: &str, path: &str| Place::There(name.parse().unwrap(), path.into());
        for (text, place) in [
            ("-", Place::Stream),
            ("web:/srv", there("web", "/srv")),
            ("web:", there("web", "")),
            ("web:a:b", there("web", "a:b")),
            ("./web:x", Place::Here("./web:x".into())),
            ("/a:b", Place::Here("/a:b".into())),
            ("Web:x", Place::Here("Web:x".into())),
            ("file", Place::Here("file".into())),
        ] {
            assert_eq!(Place::parse(text.as_ref()), place, "{text}");
        }
        let bytes = OsString::from_vec(b"web:\xff".to_vec());
        assert_eq!(
            Place::parse(&bytes),
            Place::There("web".parse().unwrap(), OsString::from_vec(vec![0xff]))
        );
    }
}
