//! PlanetLab: one file per VM, one whole percentage of CPU use per line, every five minutes.
//!
//! The form of the CoMon data that CloudSim and `beloglazov/planetlab-workload-traces` use. A trace is
//! a folder, a tar archive (plain or gzip) of one, or the file of a single VM.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Readings;
use super::archive::Archive;
use super::error::{Place, Problem, TraceError};
use super::input;
use super::progress::Progress;
use super::reading::Reading;
use super::records::Records;
use super::vms::Vms;

/// The distance of two lines, as the data's authors give it.
pub const INTERVAL: Duration = Duration::from_secs(300);

const EXPECTED: &str = "a whole percentage of CPU use, 0 to 100";

/// Opens a folder, an archive or one VM's file.
pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    if path.is_dir() {
        let files = Folder { files: input::list(path)?.into_iter(), progress: Arc::clone(progress) };
        return Ok(Box::new(Importer::new(files)));
    }
    let place = Place::file(path);
    let mut bytes = input::open(path, progress)?;
    if super::detect::looks_like_tar(&mut bytes).map_err(|error| place.unreadable(error))? {
        let archive = Archive::new(bytes, place.clone());
        return Ok(Box::new(Importer::new(Tar {
            archive: Some(archive),
            place,
            progress: Arc::clone(progress),
        })));
    }
    let name = super::file_stem(path)?;
    let records = Records::new(bytes, b',', false, place);
    Ok(Box::new(Importer::new(Single(Some((name, records))))))
}

/// Where the files of the VMs come from, one after another.
trait Files {
    type Input: Read;
    fn next(&mut self) -> NextFile<Self::Input>;
    /// Takes back a file that was read to its end.
    fn done(&mut self, records: FileRecords<Self::Input>);
}

type FileRecords<R> = Records<BufReader<R>>;
/// The name of a VM and its lines.
type NextFile<R> = Result<Option<(String, FileRecords<R>)>, TraceError>;

struct Folder {
    files: std::vec::IntoIter<PathBuf>,
    progress: Arc<Progress>,
}

impl Files for Folder {
    type Input = Box<dyn Read + Send>;
    fn next(&mut self) -> NextFile<Self::Input> {
        let Some(path) = self.files.next() else { return Ok(None) };
        let records = Records::new(input::open(&path, &self.progress)?, b',', false, Place::file(&path));
        Ok(Some((super::file_stem(&path)?, records)))
    }
    fn done(&mut self, _: FileRecords<Self::Input>) {}
}

struct Single(Option<(String, FileRecords<Box<dyn Read + Send>>)>);

impl Files for Single {
    type Input = Box<dyn Read + Send>;
    fn next(&mut self) -> NextFile<Self::Input> {
        Ok(self.0.take())
    }
    fn done(&mut self, _: FileRecords<Self::Input>) {}
}

struct Tar {
    archive: Option<Archive<input::Bytes>>,
    place: Place,
    progress: Arc<Progress>,
}

impl Files for Tar {
    type Input = Archive<input::Bytes>;
    fn next(&mut self) -> NextFile<Self::Input> {
        let Some(mut archive) = self.archive.take() else { return Ok(None) };
        loop {
            let Some(entry) = archive.next_file()? else { return Ok(None) };
            let name = entry.rsplit('/').next().unwrap_or_default();
            if name.starts_with('.') {
                self.progress.note("hidden files in the archive, left out");
                continue;
            }
            let records = Records::new(BufReader::new(archive), b',', false, self.place.in_entry(&entry));
            return Ok(Some((name.to_owned(), records)));
        }
    }
    fn done(&mut self, records: FileRecords<Self::Input>) {
        // The file was read to its end, so the buffer holds nothing of the next one.
        self.archive = Some(records.into_input().into_inner());
    }
}

struct Importer<F: Files> {
    files: F,
    current: Option<(String, FileRecords<F::Input>)>,
    lines: u32,
    vms: Vms,
}

impl<F: Files> Importer<F> {
    fn new(files: F) -> Self {
        Self { files, current: None, lines: 0, vms: Vms::default() }
    }

    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        loop {
            if self.current.is_none() {
                self.current = self.files.next()?;
                self.lines = 0;
            }
            let Some((name, mut records)) = self.current.take() else { return Ok(None) };
            if records.advance()? {
                let reading = self.reading(&name, &records)?;
                self.current = Some((name, records));
                return Ok(Some(reading));
            }
            if self.lines == 0 {
                return Err(records.place().wrong(Problem::new("an empty file", EXPECTED)));
            }
            self.files.done(records);
        }
    }

    fn reading<R: Read>(&mut self, name: &str, records: &FileRecords<R>) -> Result<Reading, TraceError> {
        records.expect_fields(1)?;
        let raw = records.field(0);
        // A blank line in the middle would shift all that follows by five minutes.
        if records.line() != u64::from(self.lines) + 1 {
            return Err(records.wrong(Problem::new("a blank line before this one", EXPECTED)));
        }
        let percent: Option<u8> =
            std::str::from_utf8(raw).ok().and_then(|text| text.trim_ascii().parse().ok());
        let Some(percent) = percent.filter(|percent| *percent <= 100) else {
            return Err(records.wrong(Problem::field(raw, EXPECTED)));
        };
        let time = INTERVAL * self.lines;
        if self.lines == 0 && self.vms.knows(name) {
            return Err(
                records.wrong(Problem::new(format!("a second file for VM `{name}`"), "one file per VM"))
            );
        }
        let vm = self.vms.admit(name.as_bytes(), time).map_err(|problem| records.wrong(problem))?;
        self.lines = self.lines.saturating_add(1);
        let cpu = Some(f64::from(percent) / 100.0);
        Ok(Reading { interval: Some(INTERVAL), cpu, ..Reading::new(vm, time) })
    }
}

impl<F: Files> Iterator for Importer<F> {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
