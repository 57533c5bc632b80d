"""Examples of every verb, as its ``--help`` shows them."""

# Of the command as a whole.
FIRST = [
    "fmri2img repro --jobs 2",
    "fmri2img metrics",
    "fmri2img decode exports/subj01.npz --model models/subj01/bayes --to pictures",
    "fmri2img decode --help",
]
EXAMPLES = {
    "voxels": ["fmri2img voxels data/voxels/subj01.h5"],
    "export": [
        "fmri2img export data/voxels/subj01.h5 --to exports/subj01.npz",
        "fmri2img export data/voxels/subj01.h5 --rois V1v V1d --to exports/v1.npz",
        "fmri2img export data/voxels/subj01.h5 --format takagi --to exports/mrifeat/subj01",
    ],
    "share": [
        "fmri2img share --dry-run",
        "fmri2img share --remote lab --members-only",
        "fmri2img share --remote everybody --public",
    ],
    "pull": [
        "fmri2img pull",
        "fmri2img pull --remote lab --models",
        "fmri2img pull --remote everybody --responses",
    ],
    "metrics": ["fmri2img metrics", "fmri2img metrics subj01"],
    "evaluate": [
        "fmri2img evaluate my-reconstructions/ data/truth/subj01.h5 --to scores.json",
        "fmri2img evaluate pictures/ truth/ --subset --networks effnet_lite0 clip",
    ],
    "paper": ["fmri2img paper", "fmri2img paper --subjects subj01 --to paper-subj01"],
    "list": ["fmri2img list", "fmri2img list subj01"],
    "promote": ["fmri2img promote models:/fmri2img-bayes-subj01/2"],
    "retire": ["fmri2img retire models:/fmri2img-ridge-subj01/1 --because 'a wrong mask'"],
    "restore": [
        "fmri2img restore models:/fmri2img-bayes-subj01@champion",
        "fmri2img restore models:/fmri2img-bayes-subj01/1 --to earlier",
    ],
    "track": ["fmri2img track"],
    "migrate": ["fmri2img migrate --to http://127.0.0.1:5000"],
    "decode": [
        "fmri2img decode exports/subj01.npz --model models/subj01/bayes --to pictures",
        "fmri2img decode betas.npy --repetitions 1 --model models/subj01/ridge --to pictures",
    ],
    "adapt": [
        "fmri2img adapt new.h5 --to encoders/new",
        "fmri2img adapt subj02 --to encoders/subj02 --minutes 5 10 20",
    ],
    "check": ["fmri2img check", "fmri2img check --raw"],
    "check-alignment": ["fmri2img check-alignment", "fmri2img check-alignment subj01"],
    "new-dataset": [
        "fmri2img new-dataset /data/breakfast --unit z-score --terms ''",
        "fmri2img new-dataset /data/breakfast --unit z-score --test-sessions 7 8",
    ],
    "repro": ["fmri2img repro", "fmri2img repro train@subj01-ridge --jobs 2"],
    "why": ["fmri2img why", "fmri2img why train@subj01-ridge"],
    "disk": ["fmri2img disk"],
    "accept": ["fmri2img accept", "fmri2img accept extract_betas"],
    "remove": ["fmri2img remove subj02 --dry-run", "fmri2img remove basic_ae"],
    "migrate-project": ["fmri2img migrate-project --dry-run"],
    "lineage": ["fmri2img lineage data/voxels/subj01.h5"],
    "completion": [
        "fmri2img completion bash > ~/.local/share/bash-completion/completions/fmri2img",
        "fmri2img completion zsh > ~/.zfunc/_fmri2img",
    ],
}
