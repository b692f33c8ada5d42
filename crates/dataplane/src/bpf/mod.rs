//! The IPIP tunnel in BPF, for kernels without the ipip module.
