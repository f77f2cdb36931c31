//! Firecracker: a config file, and the API socket for what comes after the boot.

use serde_json::json;

use super::{Bus, Files, Launch, Vmm, kernel_args};
use crate::microvm::{HostFacts, Spec};
use crate::network;

/// The API's socket, in the machine's folder: in the one folder that a VMM may write to.
pub(super) const API_SOCKET: &str = "run/out/api.sock";

pub(super) fn launch(vmm: &Vmm, spec: &Spec, host: &HostFacts, image: &Files, epoch: u64) -> Launch {
    let Files { folder, tools, .. } = image;
    let mut args = kernel_args(host, image, Bus::Mmio, epoch);
    if host.arch == "aarch64" {
        args.insert(0, "keep_bootcon".to_owned());
    } else {
        // reboot=k: without it a reboot hangs. No i8042.nopnp, which breaks SendCtrlAltDel.
        args.push("reboot=k i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce".to_owned());
    }
    // `Writeback`: a guest's flush reaches the host's disk, so what was fsynced survives.
    let drive = |id: &str, path: String, read_only: bool| {
        json!({
            "drive_id": id, "path_on_host": path, "is_root_device": false, "is_read_only": read_only,
            "cache_type": if read_only { "Unsafe" } else { "Writeback" },
        })
    };
    let mut drives =
        vec![drive("base", format!("{folder}/base"), true), drive("disk", "disk.img".to_owned(), false)];
    if *tools {
        drives.push(drive("tools", format!("{folder}/tools"), true));
    }
    let config = json!({
        "boot-source": {
            "kernel_image_path": format!("{folder}/kernel"),
            "initrd_path": "run/initrd",
            "boot_args": args.join(" "),
        },
        "drives": drives,
        "machine-config": {"vcpu_count": spec.cpus, "mem_size_mib": spec.memory_mib.mib()},
        "network-interfaces": [
            {"iface_id": "eth0", "host_dev_name": network::TAP, "guest_mac": network::GUEST_MAC},
        ],
        "entropy": {},
    });
    let argv = [
        &vmm.program.path,
        "--api-sock",
        API_SOCKET,
        "--config-file",
        "run/vmm.json",
        "--id",
        spec.name.as_str(),
        // From its first word on: its standard output is the guest's console.
        "--log-path",
        "vmm.log",
        "--level",
        "Warning",
    ];
    Launch { argv: argv.map(str::to_owned).into(), config: Some(config.to_string()), watch_halt: true }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{files, host};
    use super::*;
    use crate::microvm::{Kvm, VmmChoice, sample_spec};

    #[test]
    fn every_key_of_the_config_file_is_one_firecracker_knows() {
        // Firecracker ignores unknown keys at the top level, so a slip would go unseen.
        let host = host(Kvm::Usable, Some("1.16.1"));
        let vmm = Vmm::choose(VmmChoice::Auto, &host).unwrap();
        assert_eq!(vmm.kind, Kind::Firecracker);
        let launch = launch(&vmm, &sample_spec(), &host, &files(), 7);
        let config: serde_json::Value = serde_json::from_str(&launch.config.unwrap()).unwrap();
        let keys: Vec<_> = config.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["boot-source", "drives", "entropy", "machine-config", "network-interfaces"]);
        assert_eq!(config["drives"][0]["path_on_host"], "../../images/abc/base");
        assert_eq!(config["drives"][1]["cache_type"], "Writeback");
        let args = config["boot-source"]["boot_args"].as_str().unwrap();
        assert!(args.len() < 2048 && args.contains("mvm.bus=mmio mvm.epoch=7"), "{args}");
        assert_eq!(launch.argv[0], "/bin/firecracker");
    }
}
