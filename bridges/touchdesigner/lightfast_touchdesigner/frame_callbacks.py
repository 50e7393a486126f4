# Of the Execute DAT: all work is done here, on the main thread, a little in each frame.


def onFrameStart(frame):
    parent().ext.LightfastExt.OnFrame()


def onProjectPreSave():
    parent().ext.LightfastExt.OnSaving()


def onProjectPostSave():
    parent().ext.LightfastExt.OnSaved()


def onExit():
    parent().ext.LightfastExt.OnExit()
