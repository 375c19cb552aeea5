//! A drive of the lab: a file, plugged into one guest or another, and what shows that nothing of it is lost.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::guest::{Guest, Monitor};

/// What it is called where it is plugged in.
pub(crate) const DEVICE: &str = "lab-nvme";
/// What its file is called there.
const BACKEND: &str = "lab-drive";
const SIZE: u64 = 64 << 20;
/// How much of it, from its beginning, has to stay as it is.
const KEPT: usize = 2 << 20;
/// The block, of 512 bytes, in which its owners leave word for the next one.
const WORD: u64 = 16384;
/// How long the slowest unplug may take: the five seconds of a button, under load.
pub(crate) const UNPLUG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(20);

/// Waits until the drive is there and says what it is called.
pub(crate) const APPEARS: &str =
    "d=; until [ -b \"$d\" ]; do usleep 5000; for d in /dev/nvme*n1; do :; done; done; echo $d";
/// Reads all over the drive until that fails.
const READS: &str = "rm -f /tmp/gone; (while dd if=DRIVE of=/dev/null bs=64k iflag=direct; do :; done; touch /tmp/gone) >/dev/null 2>&1 &";

/// The drive.
#[derive(Debug)]
pub(crate) struct Drive {
    /// Its file.
    pub(crate) file: PathBuf,
    digest: String,
}

impl Drive {
    /// A drive whose beginning is noise.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("drive.raw");
        let mut noise = Vec::with_capacity(KEPT);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        while noise.len() < KEPT {
            // Xorshift (Marsaglia 2003): any bytes will do that are not all alike.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend_from_slice(&state.to_le_bytes());
        }
        let write = || -> std::io::Result<()> {
            let mut out = std::fs::File::create(&file)?;
            out.write_all(&noise)?;
            out.set_len(SIZE)?;
            out.seek(SeekFrom::Start(0))?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", file.display()))?;
        let digest = Sha256::digest(&noise).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { file, digest })
    }

    /// Plugs it into a slot by hand.
    pub(crate) fn plug(&self, monitor: &mut Monitor, bus: &str) -> anyhow::Result<()> {
        let file = json!({ "driver": "file", "filename": self.file });
        monitor.execute("blockdev-add", json!({ "driver": "raw", "node-name": BACKEND, "file": file }))?;
        let device = json!({ "driver": "nvme", "id": DEVICE, "bus": bus, "drive": BACKEND, "serial": "LAB" });
        monitor.execute("device_add", device)?;
        Ok(())
    }

    /// Takes it out by hand, and gives when that was done.
    pub(crate) fn unplug(&self, monitor: &mut Monitor) -> anyhow::Result<SystemTime> {
        monitor.execute("device_del", json!({ "id": DEVICE }))?;
        let at = monitor.deleted(DEVICE, UNPLUG)?;
        monitor.execute("blockdev-del", json!({ "node-name": BACKEND }))?;
        Ok(at)
    }

    /// Has its owner look at it: the beginning is as it was, and the word of its last owner is there.
    pub(crate) fn look(&self, guest: &mut Guest, name: &str, word: &str) -> anyhow::Result<()> {
        let sum = guest.succeed(
            &format!("dd if={name} bs=64k count={} iflag=direct 2>/dev/null | sha256sum", KEPT >> 16),
            SHORT,
        )?;
        ensure!(sum.starts_with(&self.digest), "{} reads other bytes from the drive: {sum}", guest.name);
        let read = format!("dd if={name} bs=512 skip={WORD} count=1 iflag=direct 2>/dev/null | head -n 1");
        let found = guest.succeed(&read, SHORT)?;
        let found = found.trim_matches('\0');
        ensure!(found == word, "{} finds the word {found:?} on the drive in place of {word:?}", guest.name);
        Ok(())
    }

    /// Has its owner leave word for the next one.
    pub(crate) fn leave_word(&self, guest: &mut Guest, name: &str, word: &str) -> anyhow::Result<()> {
        let write = format!("echo {word} | dd of={name} bs=512 seek={WORD} conv=sync,fsync 2>/dev/null");
        guest.succeed(&write, SHORT)?;
        Ok(())
    }

    /// Has its owner read from it without end.
    pub(crate) fn put_under_load(&self, guest: &mut Guest, name: &str) -> anyhow::Result<()> {
        guest.succeed(&READS.replace("DRIVE", name), SHORT)?;
        Ok(())
    }

    /// Makes sure that the reader was there until the drive left, and was told.
    pub(crate) fn reader_was_told(&self, guest: &mut Guest) -> anyhow::Result<()> {
        let told = "n=0; until [ -e /tmp/gone ]; do usleep 20000; n=$((n+1)); [ $n -lt 200 ] || exit 1; done";
        let outcome = guest.run(told, SHORT)?;
        ensure!(outcome.status == 0, "the reader in {} did not get an error when the drive left", guest.name);
        Ok(())
    }
}
