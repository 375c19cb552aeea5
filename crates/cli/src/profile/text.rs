//! Profiles in words, tables and bars.

use std::fmt::Write;

use halcyon_lab::fit::Fitted;
use halcyon_model::profile::{Application, CacheResponse, FitError, GpuResponse, Profiles};

const MIB: f64 = 1024.0 * 1024.0;
/// The steps of cache that are shown: the ways of the machine behind the profiles that come with Halcyon.
const STEP: f64 = 2.5 * MIB;
const STEPS: u32 = 11;
/// Characters of the longest bar.
const WIDTH: usize = 24;

/// How well each program fits, and all points together.
pub(super) fn fits(fitted: &Fitted) -> String {
    let titles = ["IPC", "misses", "bandwidth", "step time", "throughput"];
    let mut text = format!("{:<14}", "error, %");
    text.extend(titles.map(|title| format!(" {title:>14}")));
    let _ = write!(text, "\n{:<14}", "program");
    text.push_str(&format!(" {:>14}", "median  worst").repeat(titles.len()));
    text.push('\n');
    for application in fitted.profiles.iter() {
        let fit = &application.fit;
        let errors = [fit.ipc, fit.misses, fit.bandwidth, fit.step_time, fit.throughput];
        let _ = write!(text, "{:<14}", application.name);
        text.extend(errors.map(|error| format!(" {:>14}", cell(error))));
        text.push('\n');
    }
    if let Some(all) = fitted.ipc() {
        let worst = fitted.profiles.iter().filter_map(|it| Some((it.fit.ipc?, &it.name)));
        let worst = worst.max_by(|(a, _), (b, _)| a.median.total_cmp(&b.median));
        let points = fitted.ipc_errors.len();
        let _ = write!(
            text,
            "\nIPC over all {points} points: median {}, worst {}",
            percent(all.median),
            percent(all.worst)
        );
        if let Some((error, name)) = worst {
            let _ = write!(text, "; worst program {name} with a median of {}", percent(error.median));
        }
        text.push('\n');
    }
    if let Some(clock) = fitted.clock {
        let _ = writeln!(text, "Clock of the machine with the cache table: {:.3} GHz", clock / 1e9);
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn cell(error: Option<FitError>) -> String {
    error.map_or_else(String::new, |it| format!("{:.2} {:>6.2}", 100.0 * it.median, 100.0 * it.worst))
}

/// One line for each application.
pub(super) fn list(profiles: &Profiles) -> String {
    let mut text = format!(
        "{:<14} {:>10} {:>10} {:>11} {:>9} {:>8} {:>7}\n{:<14} {:>10} {:>10} {:>11} {:>9} {:>8} {:>7}\n",
        "",
        "speed with",
        "traffic",
        "at 27.5 MiB",
        "GPU at",
        "CPU per",
        "paging",
        "application",
        "2.5 MiB",
        "2.5 MiB",
        "",
        "1 slice",
        "GPU",
        ""
    );
    for application in profiles.iter() {
        let response = &application.response;
        let (small, large) = (response.cache.effect(STEP), response.cache.effect(STEP * f64::from(STEPS)));
        let gpu = response.gpu.as_ref().map(|gpu| format!("{:.2}", gpu.speed(1)));
        let cpu = response.cpu_per_gpu.map(|cores| format!("{cores:.1}"));
        let paging = response.paging.map(|slowdown| format!("{slowdown:.2}"));
        let _ = writeln!(
            text,
            "{:<14} {:>10.2} {:>10} {:>11} {:>9} {:>8} {:>7}",
            application.name,
            small.speed,
            rate(small.traffic * small.speed),
            rate(large.traffic * large.speed),
            gpu.unwrap_or_default(),
            cpu.unwrap_or_default(),
            paging.unwrap_or_default()
        );
    }
    text
}

/// Everything that is known of an application.
pub(super) fn show(application: &Application) -> String {
    let response = &application.response;
    let mut text = format!("{}\n", application.name);
    for source in application.source.split("; ") {
        let _ = writeln!(text, "  {source}");
    }
    match response.cache.flat_traffic() {
        Some(traffic) => {
            let _ = writeln!(text, "\nCache: no response known; {} of memory traffic assumed", rate(traffic));
        }
        None => show_cache(&mut text, &response.cache),
    }
    if let Some(gpu) = &response.gpu {
        show_gpu(&mut text, gpu);
    }
    if let Some(cores) = response.cpu_per_gpu {
        let _ = writeln!(text, "\nCPU: {cores:.2} cores keep one GPU busy");
    }
    if let Some(paging) = response.paging {
        let tenth = 1.0 / (1.0 + paging / 10.0);
        let _ = writeln!(
            text,
            "\nMemory: speed {tenth:.3} with a tenth of the working set missing ({paging:.3})"
        );
    }
    show_fit(&mut text, application);
    text
}

fn show_cache(text: &mut String, cache: &CacheResponse) {
    let _ = writeln!(
        text,
        "\nCache: {:.3} to {:.3} misses per 1,000 instructions, tending to {:.3}, half at {:.1} MiB, steepness {:.2}",
        cache.most_misses,
        cache.least_misses,
        cache.limit_misses,
        cache.half / MIB,
        cache.steepness
    );
    let _ = writeln!(
        text,
        "       {:.3} cycles per instruction and {:.1} per miss, {:.0} bytes per miss, {:.3} GHz",
        cache.cycles,
        cache.cycles_per_miss,
        cache.bytes_per_miss,
        cache.clock / 1e9
    );
    if let Some(bytes) = cache.footprint {
        let _ = writeln!(text, "       seen to occupy at most {:.1} MiB", bytes / MIB);
    }
    let sizes: Vec<f64> = (1..=STEPS).map(|step| f64::from(step) * STEP).collect();
    let most_ipc = sizes.iter().map(|size| cache.instructions_per_cycle(*size)).fold(0.0, f64::max);
    let most_rate = sizes.iter().map(|size| cache.bandwidth(*size)).fold(0.0, f64::max);
    let _ = writeln!(text, "\n{:>10}  {:<6}{:<WIDTH$}  {:<11}", "cache", "IPC", "", "traffic");
    for size in sizes {
        let (ipc, traffic) = (cache.instructions_per_cycle(size), cache.bandwidth(size));
        let _ = writeln!(
            text,
            "{:>6.1} MiB  {ipc:<6.3}{:<WIDTH$}  {:<11}{}",
            size / MIB,
            bar(ipc / most_ipc),
            rate(traffic),
            bar(traffic / most_rate)
        );
    }
}

fn show_gpu(text: &mut String, gpu: &GpuResponse) {
    let compute = 1.0 - gpu.fixed - gpu.bandwidth;
    let gigabytes = gpu.memory.as_f64() / 1e9;
    let _ = writeln!(
        text,
        "\nGPU: of the time on the whole GPU, {} goes with compute slices, {} with memory slices, {} with \
         neither; {gigabytes:.0} GB suffice\n",
        percent(compute),
        percent(gpu.bandwidth),
        percent(gpu.fixed)
    );
    // There are no instances with 5 or 6 slices of 7.
    let offered = |slices: &u32| gpu.whole != 7 || ![5, 6].contains(slices);
    for slices in (1..=gpu.whole.min(16)).filter(offered) {
        let speed = gpu.speed(slices);
        let _ = writeln!(text, "{slices:>3} of {:<3} {speed:<6.3}{}", gpu.whole, bar(speed));
    }
}

fn show_fit(text: &mut String, application: &Application) {
    let fit = &application.fit;
    let errors = [
        ("IPC", fit.ipc),
        ("misses", fit.misses),
        ("bandwidth", fit.bandwidth),
        ("step time", fit.step_time),
        ("throughput", fit.throughput),
    ];
    text.push_str("\nError of the fit\n");
    for (what, error) in errors.into_iter().filter_map(|(what, error)| Some((what, error?))) {
        let (median, worst) = (percent(error.median), percent(error.worst));
        let _ = writeln!(text, "  {what:<11} median {median:>8}, worst {worst:>8}");
    }
}

/// A rate as people say it.
fn rate(bytes_per_s: f64) -> String {
    match bytes_per_s {
        fast if fast >= 1e9 => format!("{:.2} GB/s", fast / 1e9),
        slow => format!("{:.1} MB/s", slow / 1e6),
    }
}

/// A bar for a share of the longest, to an eighth of a character.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (WIDTH * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use halcyon_lab::profiles::embedded;

    #[test]
    fn bars_are_as_long_as_they_should() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(f64::NAN), "");
        assert_eq!(bar(2.0).chars().count(), WIDTH);
        assert_eq!(bar(0.5 + 0.5 / WIDTH as f64), "█".repeat(WIDTH / 2) + "▌");
    }

    #[test]
    fn every_application_has_a_line_and_a_page() {
        let profiles = embedded();
        let list = list(&profiles);
        for application in profiles.iter() {
            assert!(list.lines().any(|line| line.starts_with(&application.name)));
            let page = show(application);
            assert!(page.starts_with(&application.name) && page.contains("Error of the fit"), "{page}");
            assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        }
    }
}
