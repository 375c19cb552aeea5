//! Which VM runs on which socket of which host, and the means that a VM hears of its neighbours by.
//!
//! The means do not depend on the order of the VMs, not even in their last bit: every addend is first
//! rounded to a multiple of 2⁻³⁰, and sums of such multiples are exact in `f64` up to 2²³.

use super::kernel::LANES;

/// Added and taken away again, this rounds a value to a multiple of 2⁻³⁰.
const ROUNDER: f64 = 1.5 * (1_u64 << 22) as f64;

/// The rows of one or more hosts, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    host: Vec<u32>,
    socket: Vec<u32>,
    host_rows: Vec<u32>,
    sockets: Vec<Socket>,
    /// What the sockets of the newest host are called by the caller.
    names: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Socket {
    host: u32,
    rows: u32,
}

impl Placement {
    /// Forgets all rows; the memory is kept.
    pub fn clear(&mut self) {
        self.host.clear();
        self.socket.clear();
        self.host_rows.clear();
        self.sockets.clear();
    }

    /// Adds a host with a row for each entry of `sockets`, any numbers that tell its sockets apart.
    #[allow(clippy::cast_possible_truncation)]
    pub fn push(&mut self, sockets: &[usize]) {
        let (host, first) = (self.host_rows.len() as u32, self.sockets.len());
        self.host_rows.push(sockets.len() as u32);
        self.names.clear();
        for name in sockets {
            let known = self.names.iter().position(|known| known == name);
            let place = known.unwrap_or_else(|| {
                self.names.push(*name);
                self.sockets.push(Socket { host, rows: 0 });
                self.names.len() - 1
            });
            self.sockets[first + place].rows += 1;
            self.socket.push((first + place) as u32);
            self.host.push(host);
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.socket.len()
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.host_rows.len()
    }

    /// How many sockets have rows, on all hosts together.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// The host of each row.
    #[must_use]
    pub fn host_of_row(&self) -> &[u32] {
        &self.host
    }

    /// The socket of each row, counted over all hosts.
    #[must_use]
    pub fn socket_of_row(&self) -> &[u32] {
        &self.socket
    }

    /// Writes a row for each socket: the mean of `values` (rows of `width`) over the VMs of the socket,
    /// then the mean over those of its host.
    #[allow(clippy::cast_possible_truncation)]
    pub fn means(&self, values: &[f32], width: usize, sums: &mut Vec<f64>, means: &mut Vec<f32>) {
        let hosts_from = self.sockets.len() * width;
        sums.clear();
        sums.resize(hosts_from + self.host_rows.len() * width, 0.0);
        for (row, socket) in values.chunks_exact(width).zip(&self.socket) {
            add_rounded(&mut sums[*socket as usize * width..][..width], row);
        }
        let (of_sockets, of_hosts) = sums.split_at_mut(hosts_from);
        for (sum, socket) in of_sockets.chunks_exact(width).zip(&self.sockets) {
            let host = &mut of_hosts[socket.host as usize * width..][..width];
            host.iter_mut().zip(sum).for_each(|(host, sum)| *host += sum);
        }
        means.clear();
        for (sum, socket) in of_sockets.chunks_exact(width).zip(&self.sockets) {
            let (host, rows) = (socket.host as usize, f64::from(socket.rows));
            let host_rows = f64::from(self.host_rows[host]);
            means.extend(sum.iter().map(|sum| (sum / rows) as f32));
            means.extend(of_hosts[host * width..][..width].iter().map(|sum| (sum / host_rows) as f32));
        }
    }

    /// The way back of [`Placement::means`]: adds to `values` the share that each row had in the gradients
    /// `means` of the means. `hosts` is working memory.
    #[allow(clippy::cast_precision_loss)]
    pub fn spread(&self, means: &mut [f32], width: usize, hosts: &mut Vec<f32>, values: &mut [f32]) {
        hosts.clear();
        hosts.resize(self.host_rows.len() * width, 0.0);
        for (mean, socket) in means.chunks_exact_mut(2 * width).zip(&self.sockets) {
            let (of_socket, of_host) = mean.split_at_mut(width);
            of_socket.iter_mut().for_each(|value| *value /= socket.rows as f32);
            let host = &mut hosts[socket.host as usize * width..][..width];
            let rows = self.host_rows[socket.host as usize] as f32;
            host.iter_mut().zip(of_host).for_each(|(sum, value)| *sum += *value / rows);
        }
        let places = self.socket.iter().zip(&self.host);
        for (row, (socket, host)) in values.chunks_exact_mut(width).zip(places) {
            let socket = &means[*socket as usize * 2 * width..][..width];
            let host = &hosts[*host as usize * width..][..width];
            for ((value, socket), host) in row.iter_mut().zip(socket).zip(host) {
                *value += socket + host;
            }
        }
    }
}

fn add_rounded(sums: &mut [f64], values: &[f32]) {
    let (whole, rest) = values.as_chunks::<LANES>();
    let (whole_sums, rest_sums) = sums.as_chunks_mut::<LANES>();
    for (sums, values) in whole_sums.iter_mut().zip(whole) {
        for lane in 0..LANES {
            sums[lane] += (f64::from(values[lane]) + ROUNDER) - ROUNDER;
        }
    }
    for (sum, value) in rest_sums.iter_mut().zip(rest) {
        *sum += (f64::from(*value) + ROUNDER) - ROUNDER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_socket_hears_of_itself_and_of_its_host() {
        let mut placement = Placement::default();
        placement.push(&[7, 3, 7]);
        placement.push(&[]);
        placement.push(&[3]);
        assert_eq!((placement.rows(), placement.hosts(), placement.sockets()), (4, 3, 3));
        assert_eq!(placement.socket_of_row(), [0, 1, 0, 2]);
        let (mut sums, mut means) = (Vec::new(), Vec::new());
        placement.means(&[1.0, 4.0, 3.0, -5.0], 1, &mut sums, &mut means);
        assert_eq!(means, [2.0, 8.0 / 3.0, 4.0, 8.0 / 3.0, -5.0, -5.0]);
    }

    #[test]
    fn spreading_is_the_transpose_of_the_means() {
        let mut placement = Placement::default();
        placement.push(&[0, 1, 0]);
        placement.push(&[0, 0]);
        let (rows, contexts) = (placement.rows(), 2 * placement.sockets());
        let (mut sums, mut means, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows {
            let mut values = vec![0.0; rows];
            values[row] = 1.0;
            placement.means(&values, 1, &mut sums, &mut means);
            for context in 0..contexts {
                let mut gradient = vec![0.0; contexts];
                gradient[context] = 1.0;
                let mut back = vec![0.0; rows];
                placement.spread(&mut gradient, 1, &mut hosts, &mut back);
                assert!((back[row] - means[context]).abs() < 1e-7, "row {row}, mean {context}");
            }
        }
    }
}
