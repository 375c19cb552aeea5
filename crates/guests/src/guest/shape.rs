//! What a guest is made of, as QEMU's command line says it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::image::Image;

/// How devices come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HotPlug {
    /// By ACPI, as is QEMU's default on q35.
    Acpi,
    /// By the ports themselves (pciehp): unplugging waits five seconds for somebody to press the button again.
    Native,
}

/// The accelerator that QEMU runs guests with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor's own.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    /// Its name on the command line and in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What a guest is made of.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Memory at the start, in MiB.
    pub(crate) memory_mib: u32,
    /// How devices come and go.
    pub(crate) hot_plug: HotPlug,
    /// A device for memory that comes and goes, of at most this many MiB.
    pub(crate) virtio_mem_mib: Option<u32>,
    /// A disk behind the throttle group `tg0`.
    pub(crate) disk: Option<PathBuf>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { memory_mib: 256, hot_plug: HotPlug::Acpi, virtio_mem_mib: None, disk: None }
    }
}

/// The sockets and logs of one guest.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The monitor that Halcyon's driver connects to.
    pub(crate) qmp: PathBuf,
    /// The monitor of the lab.
    pub(crate) lab: PathBuf,
    /// The channel into the guest.
    pub(crate) channel: PathBuf,
    /// What the guest's kernel says.
    pub(crate) console: PathBuf,
    /// What QEMU says.
    pub(crate) log: PathBuf,
}

impl Places {
    /// The places in a guest's folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            qmp: at("qmp.sock"),
            lab: at("lab.sock"),
            channel: at("channel.sock"),
            console: at("console.log"),
            log: at("qemu.log"),
        }
    }
}

/// What the kernel is told; each word but the last two saves time under emulation.
const KERNEL: &str = "console=ttyS0 nokaslr mitigations=off no_timer_check tsc=reliable cryptomgr.notests \
    audit=0 random.trust_cpu=on quiet panic=-1 memhp_default_state=online_movable";

impl Shape {
    /// The arguments of QEMU.
    pub(crate) fn arguments(&self, image: &Image, accelerator: Accelerator, at: &Places) -> Vec<OsString> {
        let mut line = Line::default();
        let cpu = if accelerator == Accelerator::Kvm { "host" } else { "max" };
        if let Some(name) = at.qmp.parent().and_then(Path::file_name) {
            line.pair("-name", name);
        }
        line.words("-machine q35 -nodefaults -no-user-config -display none -no-reboot -smp 1");
        line.words(&format!("-accel {} -cpu {cpu}", accelerator.name()));
        match self.virtio_mem_mib {
            None => line.words(&format!("-m {}", self.memory_mib)),
            Some(more) => line.words(&format!("-m {},maxmem={}M", self.memory_mib, self.memory_mib + more)),
        };
        line.path("-kernel", "", &image.kernel).path("-initrd", "", &image.initramfs);
        line.pair("-append", KERNEL);
        line.path("-serial", "file:", &at.console);
        for (socket, id) in [(&at.qmp, "halcyon"), (&at.lab, "lab")] {
            line.pair("-chardev", format!("socket,id={id},server=on,wait=off,path={}", socket.display()));
            line.words(&format!("-mon chardev={id},mode=control"));
        }
        line.pair("-chardev", format!("socket,id=in,server=on,wait=off,path={}", at.channel.display()));
        line.words("-device virtio-serial-pci -device virtserialport,chardev=in,name=lab");
        line.words("-device virtio-balloon-pci,id=balloon0,guest-stats-polling-interval=1,deflate-on-oom=on");
        self.slots(&mut line);
        self.extras(&mut line);
        line.0
    }

    /// Two plain slots, and a switch with two more.
    fn slots(&self, line: &mut Line) {
        if self.hot_plug == HotPlug::Native {
            line.words("-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off");
        }
        for (port, slot) in [("rp0", 1), ("rp1", 2), ("rpsw", 3)] {
            line.words(&format!("-device pcie-root-port,id={port},bus=pcie.0,chassis={slot},slot={slot}"));
        }
        line.words("-device x3130-upstream,id=up0,bus=rpsw");
        for (port, slot) in [("dp0", 10), ("dp1", 11)] {
            line.words(&format!("-device xio3130-downstream,id={port},bus=up0,chassis={slot},slot={slot}"));
        }
    }

    fn extras(&self, line: &mut Line) {
        if let Some(most) = self.virtio_mem_mib {
            line.words(&format!("-object memory-backend-ram,id=vmem0,size={most}M"));
            line.words("-device virtio-mem-pci,id=mem0,memdev=vmem0,requested-size=0");
        }
        if let Some(disk) = &self.disk {
            line.words("-object throttle-group,id=tg0");
            let file = format!("driver=file,node-name=disk0-file,filename={}", disk.display());
            line.pair("-blockdev", file);
            line.words("-blockdev driver=raw,node-name=disk0-raw,file=disk0-file");
            line.words("-blockdev driver=throttle,node-name=disk0,throttle-group=tg0,file=disk0-raw");
            line.words("-device virtio-blk-pci,id=vda,drive=disk0");
        }
    }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn words(&mut self, words: &str) -> &mut Self {
        self.0.extend(words.split_whitespace().map(Into::into));
        self
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([option.into(), value.into()]);
        self
    }

    fn path(&mut self, option: &str, prefix: &str, path: &Path) -> &mut Self {
        let mut value = OsString::from(prefix);
        value.push(path);
        self.pair(option, value)
    }
}
