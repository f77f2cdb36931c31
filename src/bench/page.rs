use serde::Serialize;
use tera::{Context, Tera};

use super::text::{bytes, milliseconds};
use super::{Report, Spread};

const TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/resources/bench.html.tera"));

/// A row of the waterfall: places and lengths in hundredths of the width.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    what: &'a str,
    begin: f64,
    length: f64,
    /// Of the shortest and of the longest, seen from where it begins.
    least: f64,
    most: f64,
    figures: [String; 3],
}

/// One line of dots.
#[derive(Serialize)]
struct Strip<'a> {
    label: &'a str,
    figures: [String; 3],
    median: f64,
    dots: Vec<f64>,
    ratio: Option<String>,
}

/// The report as a page that needs nothing else, with the figures themselves in it.
pub fn page(report: &Report) -> tera::TeraResult<String> {
    let whole = report
        .phases
        .iter()
        .map(|phase| phase.begins_ms + phase.ms.max)
        .fold(report.whole_life_ms.max, f64::max);
    let share = |ms: f64| 100.0 * ms / whole.max(f64::MIN_POSITIVE);
    let rows: Vec<_> = report
        .phases
        .iter()
        .map(|phase| Row {
            name: &phase.name,
            what: phase.what,
            begin: share(phase.begins_ms),
            length: share(phase.ms.median),
            least: share(phase.begins_ms + phase.ms.min),
            most: share(phase.ms.max - phase.ms.min),
            figures: figures(&phase.ms),
        })
        .collect();
    let lives = [("to the first command", &report.to_first_command_ms, None)].into_iter().chain([(
        "the whole life",
        &report.whole_life_ms,
        None,
    )]);
    let commands = report.commands.iter().enumerate().map(|(index, timed)| {
        (timed.command.as_str(), &timed.ms, (index > 0).then(|| format!("{:.2}", timed.ratio)))
    });
    let all: Vec<_> = lives.chain(commands).collect();
    let longest = all.iter().map(|(_, spread, _)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let at = |ms: f64| 100.0 * ms / longest;
    let strips: Vec<_> = all
        .into_iter()
        .map(|(label, spread, ratio)| Strip {
            label,
            figures: figures(spread),
            median: at(spread.median),
            dots: spread.all.iter().copied().map(at).collect(),
            ratio,
        })
        .collect();
    let mut context = Context::new();
    context.insert("subject", &report.subject);
    context.insert("rows", &rows);
    context.insert("row_axis", &axis(whole));
    context.insert("strips", &strips);
    context.insert("strip_axis", &axis(longest));
    if let Some(scale) = &report.scale {
        context.insert("scale", scale);
        let of = |spread: &Spread| [spread.median, spread.min, spread.max].map(bytes);
        let rows = [
            ("memory of its own", of(&scale.unique_bytes)),
            ("memory that it shares with others", of(&scale.shared_bytes)),
            ("disk", of(&scale.disk_bytes)),
        ];
        context.insert("scale_rows", &rows);
    }
    // Nothing in it can end the element that it stands in.
    let json = serde_json::to_string(report).map_err(tera::Error::message)?.replace('<', "\\u003c");
    context.insert("json", &json);
    Tera::default().render_str(TEMPLATE, &context, true)
}

/// Marks at round numbers: how far they are apart in hundredths of the width, and for each its place and its text.
fn axis(longest: f64) -> (f64, Vec<(f64, String)>) {
    let rough = longest.max(f64::MIN_POSITIVE) / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let marks = (0..=4_u8).map(|number| f64::from(number) * step).take_while(|mark| *mark <= longest);
    let share = |ms: f64| 100.0 * ms / longest.max(f64::MIN_POSITIVE);
    (share(step), marks.map(|mark| (share(mark), seconds(mark))).collect())
}

fn seconds(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1000.0) }
}

fn figures(spread: &Spread) -> [String; 3] {
    [spread.median, spread.min, spread.max].map(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_numbers() {
        let marks = |longest| axis(longest).1.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(marks(22_391.0), ["0 ms", "10 s", "20 s"]);
        assert_eq!(marks(1700.0), ["0 ms", "500 ms", "1 s", "1.5 s"]);
        assert_eq!(marks(0.25), ["0 ms", "0.1 ms", "0.2 ms"]);
    }

    #[test]
    fn the_page_needs_nothing_else_and_carries_its_figures() {
        let page = page(&super::super::sample()).unwrap();
        assert!(!page.contains("http") && !page.contains("src="), "{page}");
        // What a command is called is no markup.
        assert!(page.contains("docker run --rm &lt;debian&gt; true"), "{page}");
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"report\">").unwrap();
        let json: serde_json::Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(json["commands"][1]["command"], "docker run --rm <debian> true");
        assert_eq!(json["phases"][4]["name"], "kernel");
    }
}
