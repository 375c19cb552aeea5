//! What was read of VMs.

use halcyon_model::{ByteSize, DeviceId, ObjectiveSignal, VmCounters, VmSample, VmSpec};

use super::{Names, index, time};
use crate::outside::error::{Flaw, ensure};
use crate::outside::wire;

/// Samples in the order of `vms`.
pub(in crate::outside) fn samples(
    devices: usize,
    vms: &[VmSpec],
    names: &Names,
    forms: &[wire::Sample],
) -> Result<Vec<VmSample>, Flaw> {
    let mut samples: Vec<Option<VmSample>> = vec![None; vms.len()];
    for (at, form) in forms.iter().enumerate() {
        let id = names.find(|| format!("vms[{at}].vm"), &form.vm)?;
        let sample = VmSample { vm: id, ..sample(at, devices, form)? };
        let Ok(place) = vms.binary_search_by_key(&id, |spec| spec.id) else { continue };
        let twice = samples[place].replace(sample).is_some();
        ensure(!twice, || format!("vms[{at}].vm"), || format!("`{}` is there twice", form.vm))?;
    }
    if let Some(missing) = samples.iter().position(Option::is_none) {
        let problem = format!(
            "nothing is said of VM `{}`; name it even if nothing could be read, or send a message of type \
             vms before this one if it is gone",
            vms[missing].name
        );
        return Err(Flaw::new("vms", problem));
    }
    Ok(samples.into_iter().flatten().collect())
}

fn sample(at: usize, devices: usize, form: &wire::Sample) -> Result<VmSample, Flaw> {
    let field = |name: &str| format!("vms[{at}].{name}");
    let time = |name: &str, seconds: Option<f64>| seconds.map(|s| time(|| field(name), s)).transpose();
    let device = |(at, moved): (usize, &wire::DeviceBytes)| {
        let device =
            index(|| format!("{}[{at}].device", field("device_bytes")), moved.device, devices, "devices")?;
        Ok((DeviceId(device), moved.bytes))
    };
    let (p99, backlog) = (time("p99_s", form.p99_s)?, time("backlog_s", form.backlog_s)?);
    let measured = p99.is_some() || backlog.is_some();
    Ok(VmSample {
        counters: VmCounters {
            cpu_used_us: form.cpu_used_us,
            cpu_waited_us: form.cpu_waited_us,
            memory_stalled_us: form.memory_stalled_us,
            io_stalled_us: form.io_stalled_us,
            memory_bytes: form.memory_traffic_bytes,
            gpu_busy_us: form.gpu_busy_us,
            device_bytes: form.device_bytes.iter().enumerate().map(device).collect::<Result<_, _>>()?,
        },
        working_set: form.working_set_bytes.map(ByteSize::new),
        cache: form.cache_bytes.map(ByteSize::new),
        signal: measured.then_some(ObjectiveSignal { p99, backlog_s: form.backlog_s }),
        refuses_memory_until: time("refuses_memory_until_s", form.refuses_memory_until_s)?,
        ..VmSample::default()
    })
}
