//! Alibaba GenAI pods: GPU duty cycle, GPU memory and memory use per container, one file each.
//!
//! The `pod_*` files of `alibaba/clusterdata`, cluster-trace-v2026-GenAI: `value`, `timestamp_anon`
//! and `container_ip` in either order, sorted by time. A container becomes a VM. The duty cycle is in
//! percent, memory use a share. Several files are merged by time; what is held at once is one reading
//! per container of one moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Readings;
use super::error::{Place, Problem, TraceError};
use super::fields;
use super::input;
use super::limits::MAX_VMS;
use super::progress::Progress;
use super::reading::Reading;
use super::records::{Records, TextRecords};
use super::vms::Vms;

/// What the values of a file are, told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    GpuDutyCycle,
    GpuMemoryUsed,
    MemoryUtil,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy();
        [
            ("pod_gpu_duty_cycle", Self::GpuDutyCycle),
            ("pod_gpu_memory_used_bytes", Self::GpuMemoryUsed),
            ("pod_memory_util", Self::MemoryUtil),
        ]
        .into_iter()
        .find_map(|(prefix, kind)| name.starts_with(prefix).then_some(kind))
    }
}

/// Whether the file is one of the format's, by its name.
pub(crate) fn is_pod_file(path: &Path) -> bool {
    Kind::of(path).is_some()
}

pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    let mut streams = Vec::new();
    for file in files(path)? {
        let stream = Stream::open(&file, progress)?;
        if let Some(other) = streams.iter().find(|other: &&Stream| other.kind == stream.kind) {
            let found = format!("a second file of its kind beside {}", other.records.place().path.display());
            return Err(Place::file(&file).wrong(Problem::new(found, "one file of each kind")));
        }
        streams.push(stream);
    }
    let Some(epoch) = streams.iter().filter_map(Stream::next_time).min() else {
        return Err(Place::file(path).wrong(Problem::new("no reading", "at least one container's reading")));
    };
    let moment = BTreeMap::new().into_values();
    Ok(Box::new(Importer { streams, epoch, moment, vms: Vms::default() }))
}

fn files(path: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let expected = "names that begin with pod_gpu_duty_cycle, pod_gpu_memory_used_bytes or pod_memory_util";
    if path.is_dir() {
        let files: Vec<_> = input::list(path)?.into_iter().filter(|file| is_pod_file(file)).collect();
        if files.is_empty() {
            return Err(Place::file(path).wrong(Problem::new("a folder without them", expected)));
        }
        return Ok(files);
    }
    if is_pod_file(path) {
        return Ok(vec![path.to_path_buf()]);
    }
    Err(Place::file(path).wrong(Problem::new("a file of another name", expected)))
}

struct Importer {
    streams: Vec<Stream>,
    epoch: Duration,
    moment: std::collections::btree_map::IntoValues<Arc<str>, Reading>,
    vms: Vms,
}

impl Importer {
    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        if let Some(reading) = self.moment.next() {
            return Ok(Some(reading));
        }
        let Some(now) = self.streams.iter().filter_map(Stream::next_time).min() else { return Ok(None) };
        let mut moment = BTreeMap::new();
        for stream in &mut self.streams {
            stream.take_moment(now, self.epoch, &mut moment)?;
        }
        for reading in moment.values() {
            self.vms
                .admit(reading.vm.as_bytes(), reading.time)
                .map_err(|problem| self.streams[0].records.wrong(problem))?;
        }
        self.moment = moment.into_values();
        Ok(self.moment.next())
    }
}

impl Iterator for Importer {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// One file, with its next row looked up.
struct Stream {
    kind: Kind,
    records: TextRecords,
    /// Where value, time and container stand.
    columns: [usize; 3],
    next: Option<(Duration, Arc<str>, f64)>,
    progress: Arc<Progress>,
}

impl Stream {
    fn open(path: &Path, progress: &Arc<Progress>) -> Result<Self, TraceError> {
        let Some(kind) = Kind::of(path) else {
            return Err(Place::file(path).wrong(Problem::new("an unknown file", "a pod_* file")));
        };
        let mut records = Records::new(input::open(path, progress)?, b',', true, Place::file(path));
        records.advance()?;
        let mut columns = [0; 3];
        for (column, title) in columns.iter_mut().zip(["value", "timestamp_anon", "container_ip"]) {
            let index =
                (0..records.len()).find(|index| records.field(*index).trim_ascii() == title.as_bytes());
            *column = index.ok_or_else(|| {
                let expected =
                    format!("the titles value, timestamp_anon and container_ip ({title} is missing)");
                records.wrong(Problem::field(records.field(0), expected))
            })?;
        }
        let mut stream = Self { kind, records, columns, next: None, progress: Arc::clone(progress) };
        stream.look_ahead()?;
        Ok(stream)
    }

    fn next_time(&self) -> Option<Duration> {
        self.next.as_ref().map(|(time, ..)| *time)
    }

    fn look_ahead(&mut self) -> Result<(), TraceError> {
        let before = self.next.take().map(|(time, ..)| time);
        while self.records.advance()? {
            self.records.expect_fields(3)?;
            if self.records.field(self.columns[2]).is_empty() {
                self.progress.note("rows without a container, left out");
                continue;
            }
            let row = self.row().map_err(|problem| self.records.wrong(problem))?;
            if before.is_some_and(|before| row.0 < before) {
                let found = format!("time going backwards to {} s", row.0.as_secs_f64());
                return Err(self.records.wrong(Problem::new(found, "rows sorted by time")));
            }
            self.next = Some(row);
            break;
        }
        Ok(())
    }

    fn row(&self) -> Result<(Duration, Arc<str>, f64), Problem> {
        let [value, time, container] = self.columns.map(|column| self.records.field(column));
        let time = fields::seconds(time, "a time")?;
        let name =
            std::str::from_utf8(container).map_err(|_| Problem::field(container, "a container's name"))?;
        super::vms::check_name(name)?;
        let value = match self.kind {
            Kind::GpuDutyCycle => fields::percent(value, "a GPU duty cycle", &self.progress)?,
            Kind::GpuMemoryUsed => fields::amount(value, "GPU memory in bytes")?,
            Kind::MemoryUtil => fields::share(fields::number(value, "memory use")?, 1.0, &self.progress)
                .ok_or_else(|| Problem::field(value, "memory use as a share, 0 to 1"))?,
        };
        Ok((time, name.into(), value))
    }

    /// Adds all rows of the moment `now`.
    fn take_moment(
        &mut self,
        now: Duration,
        epoch: Duration,
        moment: &mut BTreeMap<Arc<str>, Reading>,
    ) -> Result<(), TraceError> {
        while self.next_time() == Some(now) {
            let Some((_, name, value)) = self.next.clone() else { break };
            if moment.len() == MAX_VMS {
                let expected = format!("at most {MAX_VMS} containers");
                return Err(self.records.wrong(Problem::new("another container", expected)));
            }
            let time = now.saturating_sub(epoch);
            let reading =
                moment.entry(Arc::clone(&name)).or_insert_with(|| Reading::new(Arc::clone(&name), time));
            if self.store(reading, value) {
                let found = format!("a second reading: container `{name}` at {} s", now.as_secs_f64());
                return Err(self.records.wrong(Problem::new(found, "one per container and time")));
            }
            self.look_ahead()?;
        }
        Ok(())
    }

    /// Puts the value into its column; true if there was one already.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn store(&self, reading: &mut Reading, value: f64) -> bool {
        match self.kind {
            Kind::GpuDutyCycle => reading.gpu_util.replace(value).is_some(),
            Kind::GpuMemoryUsed => reading.gpu_memory_bytes.replace(value as u64).is_some(),
            Kind::MemoryUtil => reading.memory_util.replace(value).is_some(),
        }
    }
}
