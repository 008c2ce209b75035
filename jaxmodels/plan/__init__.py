"""What a run will need, before there are devices for it: the real step, compiled for them.

python -m jaxmodels.plan language_model --depth 12 --mesh data=4,fsdp=4 --topology v5e:4x4
"""
