"""What a table can be built from: one module per source, named in :data:`SOURCES`.

A source module has

- ``add_arguments(parser)``: adds its own arguments, the input file first;
- ``build(arguments, progress) -> Content``: reads the input; ``progress`` takes one line of text;
- optionally ``is_default(arguments) -> bool``: whether they build the default table, which goes to
  the cache folder if no file is named.
"""

from __future__ import annotations

# Name to module and one line of help; the modules are imported when they are used.
SOURCES: dict[str, tuple[str, str]] = {
    "surrogate": (
        "nprep.table.sources.surrogate",
        "no input: the fitted surrogate of NASBench-101 that ships; nothing is measured",
    ),
    "measured": (
        "nprep.table.sources.measured",
        "measured.npz: public measurements joined; the rest modelled",
    ),
    "nasbench": (
        "nprep.table.sources.nasbench",
        "nasbench_only108.tfrecord or nasbench_full.tfrecord: the official files",
    ),
    "freerea": (
        "nprep.table.sources.freerea",
        "accuracies.pkl.gz of FreeREA: test means of all cells; the rest modelled",
    ),
    "neuralpredictor": (
        "nprep.table.sources.neuralpredictor",
        "nasbench.hdf5 of ultmaster/neuralpredictor.pytorch",
    ),
    "nasbench-pickle": (
        "nprep.table.sources.nasbench_pickle",
        "the pickle of NASLib or NASBenchAPI",
    ),
    "nb201-csv": (
        "nprep.table.sources.nb201_csv",
        "nasbench201_cifar10.csv and its siblings: means of all of NAS-Bench-201",
    ),
    "nats": (
        "nprep.table.sources.nats",
        "the folder NATS-tss-v1_0-3ffb9-simple: every training of NAS-Bench-201",
    ),
    "nb201-naslib": (
        "nprep.table.sources.nb201_naslib",
        "NASLib's pickle of NAS-Bench-201",
    ),
}
