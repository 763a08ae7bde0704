"""The devices are there, have addresses, and move bytes, before anything of ours is asked."""

import unittest

from devices import RDMATest, run
from perftest import ReadBandwidth


class Devices(RDMATest):

    def test_verbs_see_what_the_kernel_shows(self):
        said = run("ibv_devices")
        for device in self.devices:
            self.assertIn(device.name, said)
            described = run("ibv_devinfo", "-v", "-d", device.name)
            self.assertIn("PORT_ACTIVE", described)
            self.assertRegex(described, rf"GID\[\s*{device.gid_index}\]:\s+::ffff:{device.address}, RoCE v2")
            limits = {
                name: value for name in ("max_qp_rd_atom", "max_mr_size", "active_mtu", "max_sge_rd")
                for line in described.splitlines() if line.strip().startswith(f"{name}:")
                for value in [" ".join(line.split()[1:])]}
            print(f"\n{device.name}: {device.address} at index {device.gid_index} on {device.netdev()}, {limits}")


class Bandwidth(RDMATest):

    devices_min = 2

    def test_one_device_reads_another(self):
        reader, source = self.devices[:2]
        before = reader.counters()
        for size, count in ((64 << 10, 1000), (1 << 20, 100), (4 << 20, 25)):
            measured = ReadBandwidth(reader, source, size, count)
            print(f"\nib_read_bw, {size >> 10} KiB: {measured}")
        after = reader.counters()
        if "rcvd_pkts" in after:
            self.assertGreater(after["rcvd_pkts"], before["rcvd_pkts"], "nothing has arrived")
        else:
            self.assertIsNotNone(measured.mb_per_s, measured.said)


if __name__ == "__main__":
    unittest.main()
