#!/bin/busybox sh
# Process 1 of a guest of the lab: brings up what the devices need, then does what the host asks over the
# virtio-serial port "lab". A request is a line "ID SECONDS BASE64"; the answer is "ID STATUS BASE64".
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=90% tmp /tmp
for module in virtio_pci virtio_console virtio_blk virtio_balloon virtio_mem nvme; do
    modprobe "$module" 2>/dev/null
done
# Whoever answers must outlive the programs that fill the memory.
echo -1000 >/proc/self/oom_score_adj
port=
until [ -c "$port" ]; do
    sleep 0.02
    for port in /dev/vport*p1; do break; done
done
exec 3<>"$port"
while :; do
    # A host that disconnects ends the read; the next one that connects finds the loop again.
    while read -r id limit text <&3; do
        echo "$text" | base64 -d >/tmp/request
        (echo 500 >/proc/self/oom_score_adj; exec timeout -s KILL "$limit" sh /tmp/request) >/tmp/answer 2>&1 3<&- </dev/null
        status=$?
        echo "$id $status $(base64 -w 0 /tmp/answer)" >&3
    done
    sleep 0.05
done
