//! `mvm bench`: its figures, and its page in a real browser.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{install, is_root, skipped, which};
use crate::host::{Host, any_host};

#[test]
fn a_bench_measures_lives_commands_and_scale() {
    let host = any_host();
    let dir = tempfile::tempdir().unwrap();
    // Written by the suite's user.
    fs_err::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let file = dir.path().join("bench.html");
    let page = file.to_str().unwrap();
    let args =
        ["bench", "--runs", "1", "--memory", "256M", "--scale", "2", "--against", "sleep 0.1", "--json"];
    let seen = host.ok(&[&args[..], &["--html", page]].concat());
    let report: Value = serde_json::from_str(&seen.stdout).unwrap();
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    for name in ["look", "create", "cell", "vmm", "kernel", "sshd", "answer", "command", "stop", "remove"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let begins: Vec<_> = phases.iter().map(|phase| phase["begins_ms"].as_f64().unwrap()).collect();
    assert!(begins.is_sorted() && phases.iter().all(|phase| phase["ms"]["median"].as_f64().unwrap() >= 0.0));
    let kernel = phases.iter().find(|phase| phase["name"] == "kernel").unwrap();
    let (first, whole) = (&report["to_first_command_ms"]["median"], &report["whole_life_ms"]["median"]);
    assert!(
        kernel["ms"]["median"].as_f64() < first.as_f64() && first.as_f64() < whole.as_f64(),
        "{report:#}"
    );
    let commands = report["commands"].as_array().unwrap();
    assert_eq!(
        (&commands[0]["command"], &commands[1]["command"]),
        (&"mvm run -- true".into(), &"sleep 0.1".into())
    );
    assert!(commands[1]["ratio"].as_f64().unwrap() > 1.0, "{report:#}");
    let scale = &report["scale"];
    assert_eq!((&scale["machines"], scale["unique_bytes"]["all"].as_array().unwrap().len()), (&2.into(), 2));
    assert!(scale["unique_bytes"]["min"].as_f64().unwrap() > 2e7, "{report:#}");
    assert_eq!(passing(&host), [""; 0]);
    in_a_browser(&file, phases.len());
}

/// The machines of benches that are left.
fn passing(host: &Host) -> Vec<String> {
    let names = host.ok(&["ls", "--names"]).stdout;
    names.lines().filter(|name| name.starts_with("bench-")).map(str::to_owned).collect()
}

/// What the page's script finds out about the page around it.
const PROBE: &str = r"<script>
const inside = (a, b) => a.left >= b.left - 6 && a.right <= b.right + 6;
const box = element => element.getBoundingClientRect();
const lanes = [...document.querySelectorAll('.lane')];
const apart = axis => [...axis.children].map(box).filter(b => b.width > 0).every((b, i, all) => i == 0 || all[i - 1].right <= b.left);
const cut = cell => cell.scrollWidth > cell.clientWidth + 1;
document.body.dataset.seen = JSON.stringify({
  wide: document.documentElement.scrollWidth <= innerWidth,
  lanes: lanes.length,
  inside: lanes.every(lane => [...lane.children].every(bar => inside(box(bar), box(lane)))),
  apart: [...document.querySelectorAll('.axis')].every(apart),
  cut: [...document.querySelectorAll('td')].filter(cell => cell.offsetWidth > 0 && cut(cell)).map(cell => cell.textContent),
});
</script>";

fn in_a_browser(file: &Path, phases: usize) {
    install(&[("chromium", "chromium")]);
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(which) else {
        return skipped("the page of `mvm bench` was not looked at: there is no Chromium");
    };
    let dir = tempfile::tempdir().unwrap();
    let browse = |page: &Path, options: &[&str]| {
        let mut command = Command::new(&chromium);
        command.args(["--headless", "--disable-gpu", "--hide-scrollbars"]).args(options);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        if is_root() {
            command.arg("--no-sandbox");
        }
        let output = command.arg(format!("file://{}", page.display())).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let probed = dir.path().join("probed.html");
    fs_err::write(
        &probed,
        fs_err::read_to_string(file).unwrap().replace("</body>", &format!("{PROBE}</body>")),
    )
    .unwrap();
    for width in [1100, 520] {
        let dom = browse(&probed, &[&format!("--window-size={width},1200"), "--dump-dom"]);
        let (_, seen) = dom.split_once("data-seen=\"").unwrap();
        let seen = seen.split_once("\">").unwrap().0.replace("&quot;", "\"");
        let seen: Value = serde_json::from_str(&seen).unwrap();
        // Each phase has a lane; the two totals and the two commands have one.
        let expected = serde_json::json!({
            "wide": true, "lanes": phases + 4, "inside": true, "apart": true, "cut": [],
        });
        assert_eq!(seen, expected, "{width} pixels wide");
    }
    let picture = dir.path().join("page.png");
    browse(file, &["--window-size=1100,1200", &format!("--screenshot={}", picture.display())]);
    let decoder = png::Decoder::new(std::io::BufReader::new(fs_err::File::open(&picture).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let depth = info.color_type.samples();
    let of_colour = |colour: [u8; 3]| pixels.chunks_exact(depth).filter(|pixel| pixel[..3] == colour).count();
    // Bars and the median's marks, by day.
    assert!(of_colour([0x1b, 0x7f, 0xa8]) > 500, "no bars are to be seen");
    assert!(of_colour([0xc2, 0x41, 0x0c]) > 20, "no medians are to be seen");
}
