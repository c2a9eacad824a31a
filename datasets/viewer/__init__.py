"""Looking at a record's file frame by frame: what there is to see, one frame at a time, and only what is asked for (ADR 26).

In the process of a desk: looking.py (what is asked), dicom.py, volume.py. In the portal's: frames.py (what is kept),
answers.py and views.py. Drawing and windows are the browser's: static/js/viewer*.js.
"""
