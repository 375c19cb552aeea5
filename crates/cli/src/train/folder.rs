//! The folder of a training. Every file in it is written as a whole or not at all, and all of them follow
//! from the checkpoint, which is written first.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use halcyon_lab::train::{Checkpoint, MOST_CHECKPOINT_BYTES, Recipe, Training};

use super::card;

/// The weights.
pub(super) const WEIGHTS: &str = "halcyon.safetensors";
const CARD: &str = "README.md";
const CHECKPOINT: &str = "checkpoint.safetensors";
const CURVES: &str = "curves.csv";
const PAGE: &str = "curves.html";
/// What a file is called before it is complete.
const UNFINISHED: &str = ".unfinished-";

/// A folder that nobody else trains in.
pub(super) struct Folder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Folder {
    /// A folder to begin in: made, or empty.
    pub(super) fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| {
            format!("cannot make the folder {}; name one that can be written", path.display())
        })?;
        let folder = Self::locked(path)?;
        if std::fs::exists(path.join(CHECKPOINT)).unwrap_or(false) {
            bail!(
                "there is a training in {0} already; go on with it by --resume {0}, or name another folder",
                path.display()
            );
        }
        let tried = || format!("cannot read the folder {}", path.display());
        for entry in std::fs::read_dir(path).with_context(tried)? {
            let name = entry.with_context(tried)?.file_name();
            if !name.to_string_lossy().starts_with(UNFINISHED) {
                bail!(
                    "the folder {} is not empty: it has {}; name a new one, or an empty one",
                    path.display(),
                    name.to_string_lossy()
                );
            }
        }
        folder.beside("nothing").map(drop)?;
        Ok(folder)
    }

    /// A folder to go on in.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            bail!("there is no folder {} to go on in; begin with -o", path.display());
        }
        let folder = Self::locked(path)?;
        // What was not complete when the training ended.
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(folder)
    }

    fn locked(path: &Path) -> Result<Self> {
        let tried = || format!("cannot open the folder {}", path.display());
        let lock = File::open(path).with_context(tried)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => {
                bail!(
                    "another training is at work in {}; wait for its end, or name another folder",
                    path.display()
                )
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(tried),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What to say of a checkpoint that cannot be used.
    pub(super) fn of_no_use(&self) -> String {
        format!(
            "cannot go on from {}; nothing was changed there, begin again with -o in another folder",
            self.path.join(CHECKPOINT).display()
        )
    }

    /// What the training came to so far.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint> {
        let path = self.path.join(CHECKPOINT);
        let mut bytes = Vec::new();
        let file = File::open(&path)
            .with_context(|| format!("there is no training to go on with: cannot read {}", path.display()))?;
        file.take(MOST_CHECKPOINT_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Checkpoint::parse(&bytes).with_context(|| self.of_no_use())
    }

    /// If the training is over and judged: how it ended.
    pub(super) fn is_complete(&self, recipe: &Recipe, checkpoint: &Checkpoint) -> Option<ExitCode> {
        if !checkpoint.is_done(&recipe.course) || !self.path.join(CARD).is_file() {
            return None;
        }
        let path = self.path.display();
        if self.path.join(WEIGHTS).is_file() {
            eprintln!("halcyon: the training in {path} is complete; {path}/{CARD} says what came of it");
            return Some(ExitCode::SUCCESS);
        }
        eprintln!(
            "halcyon: the training in {path} is complete, and no weights came of it: see {path}/{CARD}"
        );
        Some(ExitCode::FAILURE)
    }

    /// Writes the checkpoint.
    pub(super) fn keep(&self, training: &Training) -> Result<()> {
        let bytes = training.checkpoint().context("cannot make a checkpoint")?;
        self.write(CHECKPOINT, &bytes)
    }

    /// Writes what follows from the checkpoint. Weights that went on from others are not among it: they
    /// have to be better first.
    pub(super) fn derive(&self, training: &Training, command: &str) -> Result<()> {
        self.write(CURVES, card::curves(training.rows()).as_bytes())?;
        self.write(PAGE, halcyon_lab::training_html(training, command).as_bytes())?;
        if training.has_origin() { Ok(()) } else { self.ship(training) }
    }

    /// Writes the best weights so far.
    pub(super) fn ship(&self, training: &Training) -> Result<()> {
        let Some((_, network)) = training.best() else { return Ok(()) };
        self.write(WEIGHTS, &network.write().context("cannot write the weights")?)
    }

    /// Writes what the weights are.
    pub(super) fn card(&self, text: &str) -> Result<()> {
        self.write(CARD, text.as_bytes())
    }

    /// A file that becomes `name` when it is complete.
    fn beside(&self, name: &str) -> Result<tempfile::NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED).tempfile_in(&self.path).with_context(|| {
            format!("cannot write {name} in {}; name a folder that can be written", self.path.display())
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let tried = || format!("cannot write {}", path.display());
        let mut file = self.beside(name)?;
        file.write_all(bytes).with_context(tried)?;
        file.as_file().sync_all().with_context(tried)?;
        crate::whole::share(file.as_file()).with_context(tried)?;
        file.persist(&path).map_err(|error| error.error).with_context(tried)?;
        Ok(())
    }
}
