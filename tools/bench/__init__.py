#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""The benchmarks: this project beside what others do the same job with.

Three programs, which need nothing but this package (with fuel-agent, for the
comparison with it) and the programs they compare it with; what is missing is
said in one line and left out::

    python tools/bench_limits.py              what the documentation shows
    python tools/bench_write.py               from HTTP onto a loop device
    python tools/bench_write.py --faults      what resets and a stall cost
    python tools/bench_connections.py         many connections at once
    python tools/bench_decode.py              unpacking
    python tools/bench_qcow2.py               qcow2 images, beside qemu-img

The program is the one beside the interpreter. As editable it starts later
than it does from a wheel: what finds its modules takes a sixth of that time.

All but the connections have to run as root, for loop devices. ``--help``
tells the options; ``--quick`` shows within a minute that everything works, and
its figures mean nothing. On a machine that does something else meanwhile no
figure means much: the load found at the start is in the report.

Every contender is a whole process, or a pipeline of them, measured by what
the kernel counts for each until it is reaped (wait4(2)). All of one section
take turns, round after round, after a first round that is not counted, but
whose result is compared with the image. Seconds and CPU seconds are medians;
memory is the most that any round took.

:seconds: from the start of the first process to the end of the last.
:CPU: seconds, user and system, of all processes. What the kernel does in
    threads of its own, such as writing back what a loop device was given, is
    in no process.
:largest, sum: the peak memory (resident, shared libraries included) of the
    largest process, and the peaks of all processes together.

The report is a table on stdout, and the same in three files: ``.txt``,
``.json`` with every single run, and ``.svg`` with the bars. Of each section
``measured`` is what the documentation shows: a figure beside its limit, made
by ``figures.measured``.

``figures``, ``report`` and ``chart`` are arithmetic and text; ``measure``
runs processes; ``rounds`` lets contenders take turns; ``scratch``,
``images``, ``nginx``, ``paced`` and ``needs`` are what they work on;
``limits``, ``write``, ``costs`` and ``connections`` are the comparisons.
"""
