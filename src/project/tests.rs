//! `mvm.toml` as people write it, and what they are told of what is wrong.

use super::*;

const PATH: &str = "/home/me/My App/mvm.toml";

fn parse(text: &str) -> Result<Project> {
    Project::parse(Path::new(PATH), text)
}

fn names(machines: &[&Declared]) -> String {
    machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn one_machine() {
    let project = parse(
        r#"
        image = "docker.io/library/python:3.12"
        cpus = 2
        memory = "1G"
        disk = "20G"
        vmm = "qemu"
        env = { DEBUG = "1" }
        provision = ["apt-get update", { file = "setup.sh" }, { run = "make", user = "me" }]
        "#,
    )
    .unwrap();
    let [machine] = &project.machines[..] else { panic!("{project:?}") };
    // The folder's name, made valid.
    assert_eq!(machine.name.as_str(), "my-app");
    assert_eq!(machine.changes.memory.unwrap().mib(), 1024);
    assert_eq!(machine.changes.env.as_ref().unwrap().pairs().collect::<Vec<_>>(), ["DEBUG=1"]);
    let steps: Vec<_> = machine.provision.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["apt-get update", "setup.sh", "make"]);
    assert_eq!(project.meant().unwrap().as_str(), "my-app");
    // A file that says nothing declares a machine as any.
    let empty = parse("").unwrap();
    assert_eq!(empty.machines[0].changes.image, None);
    assert_eq!(parse("name = \"web\"").unwrap().meant().unwrap().as_str(), "web");
}

#[test]
fn several_machines() {
    let text = "[machines.web]\ndepends_on = [\"db\"]\n[machines.db]\n[machines.job]\ndepends_on = [\"web\"]\n[machines.mail]\n";
    let project = parse(text).unwrap();
    let of = |wanted: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(|name| name.parse().unwrap()).collect();
        names(&project.with_dependencies(&wanted).unwrap())
    };
    assert_eq!(of(&[]), "db mail web job");
    assert_eq!(of(&["web"]), "db web");
    assert_eq!(of(&["job"]), "db web job");
    assert_eq!(of(&["mail", "db"]), "db mail");
    let dependents = |name: &str| names(&project.with_dependents(&[name.parse().unwrap()]).unwrap());
    assert_eq!([dependents("db"), dependents("job"), dependents("mail")], ["db web job", "job", "mail"]);
    let error = project.meant().unwrap_err();
    assert!(error.source.to_string().contains("name one of `db`, `mail`, `web`, `job`"), "{error:?}");
    let with_default = parse(&format!("default = \"web\"\n{text}")).unwrap();
    assert_eq!(with_default.meant().unwrap().as_str(), "web");
}

/// What the user sees of each kind of mistake.
#[test]
fn mistakes_are_shown_with_their_place_and_the_valid_form() {
    let mut seen = String::new();
    for text in [
        "memroy = \"1G\"\n",
        "colour = \"red\"\n",
        "memory = \"lots\"\n",
        "memory = 1024\n",
        "cpus = 0\n",
        "image = \"gentoo:1\"\n",
        "name = \"Web\"\n",
        "vmm = \"xen\"\n",
        "env = { A-B = \"1\" }\n",
        "env = { DEBUG = 1 }\n",
        "provision = [\"true\", 7]\n",
        "provision = [{ script = \"setup.sh\" }]\n",
        "provision = [{ file = \"a\", run = \"b\" }]\n",
        "name = \"web\n",
        "name = \"a\"\nname = \"b\"\n",
        "depends_on = [\"db\"]\n",
        "image = \"debian\"\n[machines.web]\n",
        "[machines.Web]\n",
        "[machines.web]\nmemroy = \"1G\"\n",
        "[machines.web]\n[machines.web]\n",
        "[machines.web]\nname = \"shop\"\n",
        "[machines]\n",
        "default = \"db\"\n[machines.web]\n",
        "[machines.web]\ndepends_on = [\"dbb\"]\n[machines.db]\n",
        "[machines.a]\ndepends_on = [\"b\"]\n[machines.b]\ndepends_on = [\"a\"]\n",
    ] {
        let error = parse(text).unwrap_err();
        let hints: String = error.hints.iter().map(|hint| format!("hint: {hint}\n")).collect();
        seen.push_str(&format!(
            "{text}---\nerror: {:#}\n{hints}exit code {}\n\n",
            error.source,
            error.kind.exit_code()
        ));
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn names_of_folders_are_made_valid() {
    for (folder, name) in [
        ("/src/web", Some("web")),
        ("/src/My App (2)", Some("my-app--2")),
        ("/src/.config", Some("config")),
        ("/src/ein-sehr-langer-name-eines-projektes-von-mir", Some("ein-sehr-langer-name-eines-proj")),
        ("/src/日本", None),
        ("/", None),
    ] {
        let project = Project::parse(&Path::new(folder).join(FILE), "");
        assert_eq!(
            project.ok().map(|project| project.machines[0].name.to_string()).as_deref(),
            name,
            "{folder}"
        );
    }
}

#[test]
fn a_machine_that_is_not_in_the_file_is_told() {
    let project = parse("[machines.web]\n[machines.db]\n").unwrap();
    for (name, hint) in [("wbe", "did you mean `web`?"), ("postgres", "it has db, web")] {
        let error = project.with_dependencies(&[name.parse().unwrap()]).unwrap_err();
        assert_eq!(error.hints, [hint]);
    }
}

/// docs/mvm.schema.json is what `mvm schema` prints; with `MVM_UPDATE_DOCS` set it is written anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "as the command line's reference")]
fn the_schema_is_true() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mvm.schema.json");
    if std::env::var_os("MVM_UPDATE_DOCS").is_some() {
        fs_err::write(&file, &text).unwrap();
    }
    let written = fs_err::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "docs/mvm.schema.json is out of date: run `MVM_UPDATE_DOCS=1 cargo test schema`"
    );
}
