//! The only place that prints. Data goes to stdout, everything for people to stderr.

pub mod terminal;

use std::fmt::Display;
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

use crate::error::Error;
use crate::shell::Event;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    Quiet,
    Normal,
    Verbose,
}

pub struct Ui {
    verbosity: Verbosity,
    running: Option<Running>,
    /// What each line begins with.
    label: String,
}

/// The step that lasts now.
struct Running {
    text: String,
    since: Instant,
    /// On a terminal: the spinner, and below it a bar for each transfer by its name.
    bars: Option<Bars>,
}

struct Bars {
    all: MultiProgress,
    spinner: ProgressBar,
    transfers: Vec<(String, ProgressBar)>,
}

impl Bars {
    fn new(text: &str) -> Self {
        let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let all = MultiProgress::new();
        let spinner = all.add(ProgressBar::new_spinner().with_style(style).with_message(text.to_owned()));
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self { all, spinner, transfers: Vec::new() }
    }

    fn transfer(&mut self, what: &str, done: u64, total: Option<u64>) {
        let index = self.bar(what, total);
        if Some(done) == total {
            self.transfers.remove(index).1.finish_and_clear();
            return;
        }
        let bar = &self.transfers[index].1;
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Which of the transfers is `what`, a new one perhaps.
    fn bar(&mut self, what: &str, total: Option<u64>) -> usize {
        self.transfers.iter().position(|(name, _)| name == what).unwrap_or_else(|| {
            let template = match total {
                Some(_) => {
                    "  {bar:30.cyan/dim} {bytes:>10} of {total_bytes}, {binary_bytes_per_sec}  {msg:.dim}"
                }
                None => "  {bytes:>10}, {binary_bytes_per_sec}  {msg:.dim}",
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::no_length().with_style(style).with_message(what.to_owned());
            if let Some(total) = total {
                bar.set_length(total);
            }
            self.transfers.push((what.to_owned(), self.all.add(bar)));
            self.transfers.len() - 1
        })
    }

    fn clear(self) {
        for (_, bar) in self.transfers {
            bar.finish_and_clear();
        }
        self.spinner.finish_and_clear();
    }
}

/// Steps shorter than this leave no line of their own on a terminal.
const WORTH_A_LINE: Duration = Duration::from_millis(400);

impl Ui {
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, running: None, label: String::new() }
    }

    /// One of several that speak at the same time: each of its lines says which it is, and none is drawn over.
    #[must_use]
    pub fn labelled(&self, label: String) -> Self {
        Self { verbosity: self.verbosity, running: None, label }
    }

    /// Whether progress is drawn.
    fn draws(&self) -> bool {
        std::io::stderr().is_terminal() && self.label.is_empty()
    }

    fn line(&self, text: &str) {
        // Whole, so that nobody else's line gets into it.
        let text: String = shown(text).split('\n').map(|line| format!("{}{line}\n", self.label)).collect();
        // Nobody is left to tell when stderr is gone.
        anstream::stderr().lock().write_all(text.as_bytes()).unwrap_or_default();
    }

    /// How much is said from now on; the answer is how much was before.
    pub fn set_verbosity(&mut self, verbosity: Verbosity) -> Verbosity {
        self.settle();
        std::mem::replace(&mut self.verbosity, verbosity)
    }

    pub fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// From now on progress is for a terminal alone: elsewhere standard error is the command's.
    pub fn leave_stderr(&mut self) {
        if self.verbosity == Verbosity::Normal && !std::io::stderr().is_terminal() {
            self.verbosity = Verbosity::Quiet;
        }
    }

    /// Whether someone is there to answer a question.
    pub fn can_ask() -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Whether the session may take over the terminal.
    pub fn is_interactive() -> bool {
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Data: what one could pipe. A reader that went away is no failure.
    pub fn data(&mut self, text: impl Display) {
        self.settle();
        let mut out = anstream::stdout().lock();
        let text = text.to_string();
        let text = if std::io::stdout().is_terminal() { shown(&text) } else { text };
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            tracing::debug!("stdout is closed");
        }
    }

    /// A sentence for the user.
    pub fn say(&mut self, text: impl Display) {
        if self.verbosity > Verbosity::Quiet {
            self.settle();
            self.line(&text.to_string());
        }
    }

    /// Something the user should know even when quiet.
    pub fn warn(&mut self, text: impl Display) {
        self.settle();
        self.line(&format!("{} {text}", "warning:".yellow().bold()));
    }

    /// Begins a step; it ends with the next one, or with [`Ui::settle`].
    pub fn step(&mut self, text: &str) {
        self.settle();
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let bars = if self.draws() && self.verbosity == Verbosity::Normal {
            Some(Bars::new(text))
        } else {
            self.line(&format!("{} {text}", "==>".cyan()));
            None
        };
        self.running = Some(Running { text: text.to_owned(), since: Instant::now(), bars });
    }

    /// Says how far the step is.
    pub fn detail(&mut self, text: &str) {
        match &self.running {
            Some(Running { text: step, bars: Some(bars), .. }) => {
                bars.spinner.set_message(format!("{step}: {}", text.dimmed()));
            }
            _ if self.verbosity == Verbosity::Verbose => self.line(&format!("    {}", text.dimmed())),
            _ => {}
        }
    }

    /// A step whose progress is told in bytes; nothing is drawn without a terminal.
    pub fn bar(&mut self, text: &str, total: Option<u64>) -> ProgressBar {
        self.settle();
        if !self.draws() || self.verbosity == Verbosity::Quiet {
            return ProgressBar::hidden();
        }
        let mut bars = Bars::new(text);
        let index = bars.bar("", total);
        let bar = bars.transfers[index].1.clone();
        self.running = Some(Running { text: text.to_owned(), since: Instant::now(), bars: Some(bars) });
        bar
    }

    /// A line that something says which the user has started; it does not end the step.
    pub fn output(&mut self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            match &self.running {
                Some(Running { bars: Some(bars), .. }) => bars.all.suspend(|| self.line(text)),
                _ => self.line(text),
            }
        }
    }

    /// Ends the running step; one that lasted leaves a line with its time.
    pub fn settle(&mut self) {
        let Some(Running { text, since, bars }) = self.running.take() else {
            return;
        };
        let took = since.elapsed();
        match bars {
            Some(bars) => {
                bars.clear();
                if took >= WORTH_A_LINE {
                    self.line(&format!("{} {text} {}", "✓".green(), seconds(took).dimmed()));
                }
            }
            None if took >= WORTH_A_LINE => {
                self.line(&format!("    {}", format!("done in {}", seconds(took)).dimmed()));
            }
            None => {}
        }
    }

    /// Shows what a script reports while it runs.
    pub fn event(&mut self, event: Event<'_>) {
        match event {
            // An SSH server's banner may look like one.
            Event::Step(text) => self.step(&plain(text)),
            Event::Detail(text) => self.detail(&plain(text)),
            Event::Progress { what, done, total } => {
                if let Some(Running { bars: Some(bars), .. }) = &mut self.running {
                    bars.transfer(&plain(what), done, total);
                }
            }
            Event::Log(text) => {
                if self.verbosity == Verbosity::Verbose {
                    self.line(&format!("    {}", plain(text).dimmed()));
                }
            }
        }
    }

    /// Asks a yes-or-no question; only where [`Ui::can_ask`].
    pub fn ask(&mut self, question: &str, default: bool) -> std::io::Result<bool> {
        self.settle();
        let choices = if default { "[Y/n]" } else { "[y/N]" };
        let mut err = anstream::stderr();
        write!(err, "{question} {choices} ")?;
        err.flush()?;
        let mut reply = String::new();
        if std::io::stdin().lock().read_line(&mut reply)? == 0 {
            return Ok(false);
        }
        Ok(match reply.trim().to_lowercase().as_str() {
            "" => default,
            "y" | "yes" => true,
            _ => false,
        })
    }

    /// The one way an error reaches the user.
    pub fn error(&mut self, error: &Error) {
        if let Some(Running { bars: Some(bars), .. }) = self.running.take() {
            bars.clear();
        }
        self.line(&format!("{} {}", "error:".red().bold(), plain(&format!("{:#}", error.source))));
        for hint in &error.hints {
            self.line(&format!("{} {}", "hint:".cyan().bold(), plain(hint)));
        }
    }
}

/// What others wrote (an image's names, a server's words) must not steer the terminal.
fn plain(text: &str) -> String {
    text.replace(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t'), "\u{fffd}")
}

/// As [`plain`], for text that has mvm's own styles: colours pass, and nothing else that a terminal obeys.
fn shown(text: &str) -> String {
    let steers = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(steers) {
        let (before, control) = rest.split_at(at);
        shown.push_str(before);
        let style = control.strip_prefix("\u{1b}[").and_then(|codes| {
            let end = codes.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
            codes[end..].starts_with('m').then_some("\u{1b}[m".len() + end)
        });
        // A control character takes one byte, or two from U+0080 on.
        let length = style.unwrap_or_else(|| control.chars().next().map_or(0, char::len_utf8));
        shown.push_str(style.map_or("\u{fffd}", |length| &control[..length]));
        rest = &control[length..];
    }
    shown + rest
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// `10 GiB`, `512 MiB`: sizes as people read them.
pub fn size(bytes: u64) -> String {
    let text = indicatif::HumanBytes(bytes).to_string();
    text.replace(".00 ", " ")
}

/// `3 minutes`: how long something has lasted.
pub fn duration(seconds: u64) -> String {
    indicatif::HumanDuration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_colours_and_nothing_else_to_obey() {
        let styled = format!("{}\tof two\nlines", "bold".bold().red());
        assert_eq!(shown(&styled), styled);
        for (text, safe) in [
            ("\u{1b}[2Jgone", "\u{fffd}[2Jgone"),
            ("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}"),
            ("\u{1b}[1;31", "\u{fffd}[1;31"),
            ("over\rwritten", "over\u{fffd}written"),
            ("\u{9b}2J é", "\u{fffd}2J é"),
            ("\u{1b}", "\u{fffd}"),
        ] {
            assert_eq!(shown(text), safe);
        }
    }
}
