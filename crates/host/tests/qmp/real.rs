//! A real QEMU, where one is installed: no guest in it, but the very protocol.

use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use halcyon_host::qmp::{Bus, Command, threads};

const SOON: Duration = Duration::from_secs(5);

struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_qemu_is_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("qmp");
    let started = Process::new("qemu-system-x86_64")
        .args(["-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S", "-m", "256"])
        .args(["-device", "pcie-root-port,id=rp0,chassis=1,slot=1", "-device", "virtio-balloon-pci"])
        .args(["-object", "throttle-group,id=tg0", "-qmp"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        println!("skipped: qemu-system-x86_64 is not installed");
        return;
    };
    let _qemu = Qemu(child);
    let client = Bus::start().expect("a thread").client(&socket);
    client.wait_connected(Duration::from_secs(20)).expect("it greets");
    let run = |command| client.run(command, SOON);
    assert_eq!(run(Command::status()).expect("it answers")["status"], "prelaunch");
    assert_eq!(run(Command::balloon_actual()).expect("it answers")["actual"], 256 << 20);
    assert_eq!(threads(&run(Command::cpus()).expect("it answers")).expect("threads").len(), 1);
    let limits = serde_json::json!({ "bps-total": 1_000_000, "bps-read": 0, "bps-write": 0 });
    run(Command::set("/objects/tg0", "limits", limits)).expect("it is limited");
    let limits = run(Command::get("/objects/tg0", "limits")).expect("it answers");
    assert_eq!(limits["bps-total"], 1_000_000);
    let error = run(Command::device_del("zz")).expect_err("there is no such device");
    assert_eq!(error.refusal().map(|refusal| refusal.class.as_str()), Some("DeviceNotFound"));
    let network = crate::site::object(serde_json::json!({ "type": "user", "id": "net0" }));
    run(Command::netdev_add(&network)).expect("there was none of that id");
    let error = run(Command::netdev_add(&network)).expect_err("there is one");
    assert!(error.to_string().contains("Duplicate ID"), "{error}");
    run(Command::netdev_del("net0")).expect("it is there");
    let error = run(Command::netdev_del("net0")).expect_err("it is gone");
    assert_eq!(error.refusal().map(|refusal| refusal.class.as_str()), Some("DeviceNotFound"));
    let nowhere = crate::site::object(serde_json::json!({ "driver": "e1000e", "id": "x", "bus": "nope" }));
    assert!(run(Command::device_add(&nowhere)).expect_err("no such bus").to_string().contains("nope"));
}
